"""What other pages, other names and a stream that is held back can do to the page: nothing."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from learner import CHROMIUM, ID, Seen
from playwright.sync_api import expect

_ATTACK = """<!doctype html><title>hostile</title><script>
const kata = new URL(location.hash.slice(1)) + "api/kata/ID/", body = JSON.stringify({text: "hostile"});
const json = {"Content-Type": "application/json", "If-Match": "x"}, plain = {"Content-Type": "text/plain"};
const tries = [
  fetch(kata + "file", {method: "PUT", body, headers: json}),
  fetch(kata + "reset", {method: "POST", body: "{}", mode: "no-cors"}),
  fetch(kata + "run", {method: "POST", body: "{}", mode: "no-cors", headers: plain}),
  fetch(kata + "keep", {method: "POST", body, mode: "no-cors", credentials: "include"}),
  fetch(kata).then((r) => r.text()),
];
Promise.allSettled(tries).then((all) => { document.title = all.map((one) => one.status).join(" "); });
</script>""".replace("ID", ID)


@pytest.fixture
def stranger():
    """Another server on this machine, with a hostile page."""

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self):  # the library's name
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(_ATTACK.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"], ids=["another port", "another site"])
def test_15_a_hostile_page_changes_and_reads_nothing(context, served, stranger, name):
    text = served.write()
    Seen(context.new_page(), served).open()  # so that a browser would send what it keeps for this server
    page = context.new_page()
    page.goto(f"http://{name}:{stranger}/#{served.address}")
    expect(page).to_have_title(" ".join(["rejected"] * 5))  # sent, refused, and not even the refusal is read
    assert served.text == text
    assert served.kept() == []


def test_16_another_name_for_this_machine_is_refused(served, chromium):
    rebound = chromium.browser_type.launch(
        executable_path=CHROMIUM, args=["--no-sandbox", "--host-resolver-rules=MAP rebound.test 127.0.0.1"]
    )
    page = rebound.new_page()
    answer = page.goto(f"http://rebound.test:{served.port}/")
    assert answer.status == 421
    seen = page.evaluate("fetch('api/map').then((r) => r.status)")
    assert seen == 421
    rebound.close()


def test_without_the_token_nothing_is_shown(context, served):
    page = context.new_page()
    page.goto(served.address)
    expect(page.get_by_role("alert")).to_contain_text("grader serve")
    assert page.get_by_text("Begin here").count() == 0
