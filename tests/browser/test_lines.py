"""Between page and server: many tabs, a stream that is held back or cut, a proxy with a prefix."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from learner import ID, PATIENCE, REPOSITORY, Seen, until
from playwright.sync_api import expect
from shared import held_port

_HIDES = """
let hidden = false;
Object.defineProperty(document, "hidden", { get: () => hidden });
window.hide = (now) => { hidden = now; document.dispatchEvent(new Event("visibilitychange")); };
"""


def test_14_eight_tabs_are_live(context, served):
    """A browser gives a site six connections: tabs that nobody sees hold none."""
    served.write()
    context.add_init_script(_HIDES)
    tabs = []
    for _ in range(8):
        for tab in tabs:
            tab.page.evaluate("hide(true)")
        tabs.append(Seen(context.new_page(), served).open())
    served.write(("the mean of nothing", "seen by all"))
    for tab in reversed(tabs):
        tab.page.evaluate("hide(false)")
        expect(tab.line("seen by all")).to_be_visible()
        tab.page.evaluate("hide(true)")


def test_a_stream_that_is_held_back_becomes_a_long_poll(context, served):
    """As behind a proxy that passes an answer on when it is whole."""
    served.write()
    page = context.new_page()
    asked = []

    def held(route):
        asked.append(route.request.headers["accept"])
        if "event-stream" in asked[-1]:
            return  # no answer, ever
        route.continue_()

    page.route("**/api/events*", held)
    seen = Seen(page, served).open()
    served.write(("the mean of nothing", "by another editor"))
    expect(seen.line("by another editor")).to_be_visible()
    assert asked[0] == "text/event-stream"
    assert asked[-1] == "application/json"


@pytest.fixture
def proxied(house, tmp_path):
    """The address of the page behind jupyter-server-proxy, as the house's entry point starts it."""
    pytest.importorskip("jupyter_server_proxy")
    held, port = held_port()
    settings = tmp_path / "jupyter_server_config.py"
    settings.write_text("from grader.serve.jupyter import entry\nc.ServerProxy.servers = {'practice': entry()}\n")
    own = {"PYTHONPATH": str(REPOSITORY), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "HOME": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "server", "--allow-root", "--no-browser", f"--config={settings}",
         f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=secret"],
        cwd=house.root, env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def answers():
        assert server.poll() is None
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until(answers, "the Jupyter server")
    yield f"http://127.0.0.1:{port}/practice/"
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=PATIENCE)
    held.close()


def test_25_behind_a_proxy_with_a_prefix(context, house, proxied):
    house.write()
    page = context.new_page()
    page.goto(f"{proxied}?token=secret")
    page.get_by_role("link", name="Go on").or_(page.get_by_role("link", name="Begin")).click()
    seen = Seen(page, house)
    seen.code.wait_for()
    assert page.url.startswith(proxied)
    house.write(("the mean of nothing", "through the proxy"))
    expect(seen.line("through the proxy")).to_be_visible()
    expect(page.locator(".won")).to_have_count(2)
    context.set_offline(True)
    seen.at("return self.mean")
    seen.type("  # cut")
    expect(page.get_by_text("kept in this browser", exact=True)).to_be_visible()
    context.set_offline(False)
    seen.on_disk("# cut")
    house.write(("# cut", "# resumed"), text=house.text)
    expect(seen.line("# resumed")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('draft')).length") == 0
    assert ID in page.url
