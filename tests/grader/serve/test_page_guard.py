"""Nobody but the page asks the server anything: a walk over all its routes."""

import re

import pytest
from serve_page import HOME, ID, PORT, TOKEN, state_of
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from grader.serve.app import make_app
from grader.serve.guard import anything, new_token

pytest_plugins = ["serve_fixtures"]

_HELD = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def routes(client):
    """Each method and path of the application, with names in the places of its parameters."""
    for route in client.app.routes:
        if isinstance(route, Mount):
            continue
        assert isinstance(route, Route)
        path = route.path.replace("{number}", "1").replace("{id}", ID).replace("{turn}", "x")
        for method in sorted(route.methods - {"HEAD"}):
            yield method, path


def ask_all(client, headers, begins="/api/", methods=("GET", "PUT", "POST", "DELETE")):
    """The status of every route when asked with these headers alone."""
    found = {}
    for method, path in routes(client):
        if path.startswith(begins) and method in methods:
            body = None if method in ("GET", "DELETE") else b"{}"
            request = client.build_request(method, path, content=body)
            del request.headers["authorization"]
            request.headers.update(headers)
            found[method, path] = client.send(request).status_code
    assert len(found) >= (28 if "GET" in methods else 17)
    return found


@pytest.fixture(autouse=True)
def untouched(client, home, seats):
    """What a stranger asks changes nothing."""
    before = state_of(home)
    yield
    assert state_of(home) == before
    assert seats == []


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"],
)
def test_no_route_answers_without_the_token(client, authorization):
    headers = {"Content-Type": "application/json"}
    if authorization is not None:
        headers["Authorization"] = authorization
    assert set(ask_all(client, headers).values()) == {401}


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", f"127.0.0.1.evil.example:{PORT}",
     f"localhost.:{PORT}", f"0.0.0.0:{PORT}", "", f"127.0.0.1:{PORT},evil"],
)  # fmt: skip
def test_no_route_answers_under_a_foreign_name(client, host):
    assert set(ask_all(client, {**_HELD, "Host": host}, begins="/").values()) == {421}


def test_two_names_are_no_name(client):
    request = client.build_request("GET", "/api/map")
    request.headers = type(request.headers)([*request.headers.raw, (b"host", b"evil.example")])
    assert client.send(request).status_code == 421


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", f"http://evil.example:{PORT}", "null", f"http://127.0.0.1:{PORT + 1}",
     f"http://localhost:{PORT}", f"ftp://127.0.0.1:{PORT}", "http://["],
)  # fmt: skip
def test_no_route_answers_a_page_of_another_origin(client, origin):
    assert set(ask_all(client, {**_HELD, "Origin": origin}).values()) == {403}


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_no_route_answers_a_page_of_another_site(client, site):
    assert set(ask_all(client, {**_HELD, "Sec-Fetch-Site": site}).values()) == {403}


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_a_form_could_send_is_refused(client, kind):
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({"Content-Type": kind} if kind else {})
    assert set(ask_all(client, headers, methods=("PUT", "POST")).values()) == {415}


def test_the_page_itself_is_let_in(client):
    for headers in ({}, {"Origin": HOME, "Sec-Fetch-Site": "same-origin"}):
        assert client.get("/api/map", headers=headers).status_code == 200
    for host in (f"localhost:{PORT}", f"[::1]:{PORT}"):
        assert client.get("/api/map", headers={"Host": host}).status_code == 200


def test_every_answer_says_what_the_page_may_do(client):
    for path, headers in (("/", {}), ("/api/map", {}), ("/api/map", {"Host": "evil"}), ("/nothing", {})):
        answer = client.get(path, headers=headers)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_carries_the_nonce_of_its_own_answer(client, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text('<meta name="csp-nonce" content="{{nonce}}">')
    monkeypatch.setattr("grader.serve.app._STATIC", tmp_path)
    first, second = client.get("/"), client.get("/")
    nonce = re.search(r'content="(.+?)"', first.text)[1]
    assert f"'nonce-{nonce}'" in first.headers["content-security-policy"]
    assert nonce not in second.text
    assert TOKEN not in first.text


def test_a_websocket_is_closed(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/events"):
        pass


def test_behind_a_proxy_the_token_comes_with_the_page_and_is_asked_for_all_the_same(home, seats):
    app = make_app(home.house, TOKEN, anything, seats.open, proxied=True)
    with TestClient(app, base_url="https://hub.example", follow_redirects=False) as client:
        assert client.get("/").headers["location"] == f"./?open#token={TOKEN}"
        assert client.get("/api/map").status_code == 401
        held = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/map", headers={**held, "Origin": "https://hub.example"}).status_code == 200
        assert client.get("/api/map", headers={**held, "Origin": "https://other.example"}).status_code == 403


def test_no_two_starts_share_a_token():
    one, other = new_token(), new_token()
    assert one != other
    assert len(one) >= 43  # 256 bits, six a letter
