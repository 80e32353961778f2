"""Whatever a request holds, it is answered by a sentence, and no text on disk or in the history is harmed."""

import asyncio
from urllib.parse import quote

import pytest
from serve_page import ID, PORT, TOKEN, state_of

from grader.bank.derived import stub_of

pytest_plugins = ["serve_fixtures"]

KATA = f"/api/kata/{ID}"
NUMBERS = [
    "9" * 5000,
    "9" * 16,
    "\u0663",
    "\u00b2",
    "-1",
    "+1",
    "1e3",
    "0x1",
    "1_0",
    " 1",
    "1.0",
    "\0",
    "nan",
    "\u202e1",
]
BODIES = [
    b"", b"{", b"[]", b"null", b"{}", b"NaN", b"Infinity", b"9" * 5000, b'{"text": NaN}',
    b'{"text": ' + b"9" * 5000 + b"}",
    b'{"text": "\\ud800"}', b'{"text": "\xff"}', b"\xff\xfe{\x00}\x00", b"[" * 100_000, b'{"text":' * 100_000,
    b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"text": "", "leaving": 1}', b'{"text": "a", "text": "b"}',
    b'{"part": "a", "part": "b"}', b'{"lines": "1", "lines": "2"}', b'{"part": 1e400}', b'{"part": "\\u0000"}',
    b'{"hash": {}}', b'{"lines": ""}', b'{"lines": "' + b"1" * 200_000 + b'"}', b'{"hash": "", "hash": ""}',
]  # fmt: skip


@pytest.fixture(autouse=True)
def untouched(client, home):
    before = state_of(home)
    yield
    assert state_of(home) == before
    assert home.attempt.read_text() == stub_of(home.exercise)


def is_refused(answer):
    return 400 <= answer.status_code < 500 and answer.json()["error"].endswith(".")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/events?after={}"), ("GET", KATA + "/attempts/{}"), ("DELETE", "/api/run/{}")]
)
def test_a_number_that_is_none_or_too_long_is_refused(client, method, path, number):
    answer = client.request(method, path.format(quote(number)))
    assert answer.status_code == 400
    assert "digits, from 0 to 9." in answer.json()["error"]


ROUTES = [
    "PUT file", "POST keep", "POST run", "POST try", "POST hint", "POST give-up", "POST reset", "POST /api/drill",
    "POST /api/drill/x/read", "POST /api/drill/x/hint", "POST /api/drill/x/answer",
    "POST /api/interview", "POST /api/interview/answer", "POST /api/interview/next", "POST /api/interview/end",
]  # fmt: skip
USABLE = [("POST run", b"{}"), ("POST reset", b"{}")]
"""All that these take may be left out."""


@pytest.mark.parametrize(
    ("route", "body"),
    [(route, body) for route in ROUTES for body in BODIES if (route, body) not in USABLE],
    ids=lambda one: repr(one[:24]),
)
def test_a_body_that_cannot_be_used_is_refused(client, route, body):
    method, last = route.split()
    headers = {"Content-Type": "application/json", "If-Match": client.get(f"{KATA}/file").json()["hash"]}
    path = last if last.startswith("/") else f"{KATA}/{last}"
    assert is_refused(client.request(method, path, content=body, headers=headers))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("If-Match", "\xff" * 1000), ("If-Match", '"' * 50), ("If-None-Match", "\xff"), ("Accept", "\xff"),
        ("If-Modified-Since", "Mon, 99 Foo 99999999999999 00:00:00"), ("If-Range", "Mon, 01 Jan 999999999 00:00:00"),
        ("Range", "bytes=0-" + "9" * 5000), ("Range", "bytes=\xb2-5"), ("Range", "bytes=-" + "9" * 5000),
        ("Range", "bytes=" + "0-0," * 2000), ("Authorization", "Bearer \xff"), ("Host", "\xff"),
        ("Host", f"127.0.0.1:{'9' * 5000}"), ("Origin", "\xff"), ("Sec-Fetch-Site", "\xff"), ("Content-Type", "\xff"),
        ("Content-Length", "9" * 5000),
    ],
)  # fmt: skip
def test_no_header_makes_the_server_fail(client, header, value):
    for method, path in (("GET", "/static/app.js"), ("GET", "/api/map"), ("GET", KATA), ("PUT", f"{KATA}/file")):
        body = b'{"text": "mine"}' if method == "PUT" else None
        given = {"Content-Type": "application/json", header: value.encode("latin-1")}
        assert client.request(method, path, content=body, headers=given).status_code < 500


@pytest.mark.parametrize(
    "path",
    ["/static/%00", "/static/%ff", "/static/" + "a" * 5000, "/%00", "/api/kata/%00", "/api/kata/" + "9" * 5000,
     "/api/kata/%D9%A9%D9%A0%D9%A1", KATA + "/solution?part=%00%ff", KATA + "/solution?part=" + "9" * 5000, "/api/no"],
)  # fmt: skip
def test_no_address_makes_the_server_fail(client, path):
    assert 400 <= client.get(path).status_code < 500


def test_a_request_that_is_cut_short_writes_nothing(client, home):
    """Who asks goes in the middle of a body, which so far is valid."""
    messages = [
        {"type": "http.request", "body": b'{"text": "half"}', "more_body": True}, {"type": "http.disconnect"},
    ]  # fmt: skip
    answers = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        answers.append(message)

    headers = {"host": f"127.0.0.1:{PORT}", "authorization": f"Bearer {TOKEN}", "content-type": "application/json",
               "if-match": client.get(f"{KATA}/file").json()["hash"]}  # fmt: skip
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "PUT", "path": f"{KATA}/file", "query_string": b"", "headers": raw}
    asyncio.run(client.app(scope, receive, send))
    assert answers[0]["status"] == 400
