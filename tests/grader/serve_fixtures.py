"""A practice page without a browser, as a plugin: a client that has the token, and seats that a test speaks for."""

import pytest
from serve_page import HOME, PORT, TOKEN, Seats
from starlette.testclient import TestClient

from grader.serve.app import make_app
from grader.serve.guard import local


@pytest.fixture
def seats():
    return Seats()


@pytest.fixture
def client(home, seats):
    """The page's own client."""
    app = make_app(home.house, TOKEN, local(PORT), seats.open)
    with TestClient(app, base_url=HOME, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        client.page = app.state.page
        yield client


@pytest.fixture
def events(client):
    """The events after a number, waiting for the first one."""

    def after(n=0):
        return client.get(f"/api/events?after={n}").json()["events"]

    return after


@pytest.fixture
def until(client):
    """Follow the events from the beginning until one is of this kind; it, with all before it."""

    def follow(kind, after=0):
        heard = []
        while True:
            answer = client.get(f"/api/events?after={after}").json()
            assert answer["events"], f"no {kind} came, only {[one['kind'] for one in heard]}"
            for event in answer["events"]:
                heard.append(event)
                after = event["n"]
                if event["kind"] == kind:
                    return event, heard

    return follow
