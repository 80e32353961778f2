"""The practice page in JupyterLab, through the real jupyter-server-proxy, under a prefix."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from shared import PATIENCE

from conftest import environment

PREFIX = "/user/a/dl-kata/"


@pytest.fixture
def hub(home, tmp_path):
    """A Jupyter server in this house; the line to it: method, path, headers to the answer."""
    folders = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    options = ["--port=0", "--no-browser", "--allow-root", "--ServerApp.base_url=/user/a/", "--ServerApp.ip=127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "server", *options], cwd=home.root, text=True, stderr=subprocess.PIPE,
        env=environment(**folders, JUPYTER_TOKEN="hub"), start_new_session=True,
    )  # fmt: skip
    late = threading.Timer(PATIENCE, process.kill)
    late.start()
    try:
        said = []
        at = next(filter(None, (_address(said, line) for line in process.stderr)), None)
        assert at, "Jupyter does not say where it listens:\n" + "".join(said)
        threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it never waits for a reader
        line = http.client.HTTPConnection("127.0.0.1", int(at[1]), timeout=PATIENCE)
        _connect(process, line)
        late.cancel()

        def ask(method, path, **headers):
            line.request(method, PREFIX + path, headers=headers)
            return line.getresponse()

        yield ask, f"http://127.0.0.1:{at[1]}"
    finally:
        late.cancel()
        # With the page that it started. Asked to end, it may wait for ever: its proxy has an endless stream open.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(said, line):
    said.append(line)
    return re.search(r"http://127\.0\.0\.1:(\d+)/user/a/", line)


def _connect(process, line):
    """It says where it will listen a moment before it does."""
    while process.poll() is None:
        try:
            return line.connect()
        except ConnectionRefusedError:
            continue
    raise AssertionError(f"it ended with code {process.returncode}")


def test_the_page_opens_streams_and_is_guarded_behind_a_prefix(hub):
    ask, own = hub
    opened = ask("GET", "?token=hub")
    opened.read()
    assert opened.status == 303
    cookie = opened.headers["Set-Cookie"].partition(";")[0]
    token = re.fullmatch(r"\./\?open#token=(\S+)", opened.headers["Location"])[1]
    held = {"Cookie": cookie, "Authorization": f"Bearer {token}"}
    for headers, status in (
        ({"Cookie": cookie, "Authorization": "Bearer wrong"}, 401),
        ({**held, "Origin": "https://evil.example"}, 403),
        ({**held, "Origin": own}, 200),
    ):
        answer = ask("GET", "api/map", **headers)
        answer.read()
        assert answer.status == status
    stream = ask("GET", "api/events", Accept="text/event-stream", **held)
    assert stream.readline().startswith(b'data: {"kind":"hello"')  # at once, though the stream has no end
