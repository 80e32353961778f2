"""The server as a process: what it imports, where it says it runs, and that it ends."""

import contextlib
import http.client
import json
import re
import signal
import socket
import stat
import subprocess
import sys

import pytest
from shared import PATIENCE

from conftest import environment
from grader.base.errors import HouseError
from grader.serve import start
from grader.serve.jupyter import entry

SERVE = [sys.executable, "-m", "grader", "serve", "--no-browser", "--port", "0"]


@contextlib.contextmanager
def serving(home, *args):
    """A server of this house; its process and the address that it printed."""
    process = subprocess.Popen([*SERVE, *args], cwd=home.root, env=environment(), text=True, stdout=subprocess.PIPE)
    try:
        line = process.stdout.readline()
        yield process, re.search(r"http://127\.0\.0\.1:(\d+)/#token=(\S+)", line)
    finally:
        process.kill()
        process.wait()


def ask(port, token, path, **headers):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    line.request("GET", path, headers={"Authorization": f"Bearer {token}", **headers})
    return line.getresponse()


def test_the_server_holds_no_torch_and_no_pytest(home):
    code = (
        "import sys, grader.serve.app, grader.serve.start, grader.cli.main\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}\n"
        "             & {'torch', 'numpy', 'pytest', '_pytest', 'nbformat', 'click', 'starlette'}))"
    )
    assert home.cold("-c", code).out.strip() == "['click', 'starlette']"


def test_it_says_where_it_runs_and_streams_and_ends_at_ctrl_c(home):
    """Also while a stream is open, which uvicorn would wait for."""
    with serving(home) as (process, at):
        port, token = int(at[1]), at[2]
        kept = home.root / ".grader" / "serve.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert json.loads(kept.read_text())["url"].endswith(f":{port}/#token={token}")
        assert ask(port, "wrong", "/api/map").status == 401
        stream = ask(port, token, "/api/events", Accept="text/event-stream")
        assert stream.readline().startswith(b'data: {"kind":"hello"')
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert stream.read().strip() == b""
        said = process.stdout.read()
        assert said.endswith("The practice page has ended.\n")
        assert token not in said  # no request is logged
        assert not kept.exists()


def test_a_second_start_says_where_the_first_runs(home):
    with serving(home) as (_, at):
        second = home.cold("-m", "grader", "serve", "--no-browser")
        assert second.code == 0
        assert "runs already" in second.out
        assert at[0] in second.out


def test_a_start_that_was_killed_is_in_nobodys_way(home):
    with serving(home) as (process, first):
        process.kill()
        process.wait()
        with serving(home) as (_, second):
            assert first[2] != second[2]


def test_a_port_that_is_taken_is_said(home):
    with socket.socket() as taken:
        taken.bind((start.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = home.cold("-m", "grader", "serve", "--no-browser", "--port", str(port))
    assert done.code == 2
    assert f"port {port} cannot be had" in done.err


def test_the_usual_port_gives_way_to_a_free_one(monkeypatch):
    with socket.socket() as taken:
        taken.bind((start.HOST, 0))
        taken.listen()
        monkeypatch.setattr(start, "PORT", taken.getsockname()[1])
        with start._bound(None) as bound:
            assert bound.getsockname()[0] == "127.0.0.1"
        with pytest.raises(HouseError), start._bound(start.PORT):
            pass


def test_nobody_can_ask_for_another_address(cli):
    done = cli("serve", "--host", "0.0.0.0")
    assert done.code == 2
    assert "--host" in done.err


def test_the_file_for_the_browser_is_its_owners(home, monkeypatch):
    opened = []
    browser = start.webbrowser.BackgroundBrowser("true")
    monkeypatch.setattr(browser, "open", opened.append)
    monkeypatch.setattr(start.webbrowser, "get", lambda: browser)
    (home.root / ".grader").mkdir(exist_ok=True)
    start.open_browser(home.house, "http://127.0.0.1:1/#token=secret").join()
    path = home.root / ".grader" / "serve.html"
    assert opened == [path.as_uri()]
    assert "secret" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_browser_of_the_terminal_is_not_begun(home, monkeypatch):
    monkeypatch.setattr(start.webbrowser, "get", lambda: start.webbrowser.GenericBrowser("lynx"))
    assert start.open_browser(home.house, "http://127.0.0.1:1/#token=secret") is None


def test_jupyter_server_proxy_gets_a_socket_of_its_owner(home, tmp_path):
    command = [word.format(unix_socket=tmp_path / "page.sock") for word in entry()["command"]]
    process = subprocess.Popen(command, cwd=home.root, env=environment(), stderr=subprocess.PIPE)
    try:
        path = tmp_path / "page.sock"
        answer = _ask_socket(process, path, b"GET / HTTP/1.1\r\nHost: hub.example\r\nConnection: close\r\n\r\n")
        assert b"303 See Other" in answer
        assert b"location: ./?open#token=" in answer
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        process.kill()
        process.wait()


def _ask_socket(process, path, request):
    """Ask as soon as somebody listens."""
    while process.poll() is None:
        with socket.socket(socket.AF_UNIX) as line:
            try:
                line.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                continue
            line.sendall(request)
            return b"".join(iter(lambda: line.recv(65536), b""))
    raise AssertionError(process.stderr.read().decode())
