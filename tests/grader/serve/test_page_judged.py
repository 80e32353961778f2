"""The page over the real seat, engine and cage."""

import pytest
from serve_page import HOME, ID, PORT, TOKEN
from starlette.testclient import TestClient

from grader.base.files import digest
from grader.serve.app import make_app
from grader.serve.guard import local

KATA = f"/api/kata/{ID}"


@pytest.fixture
def judged(home):
    """A client, and what follows the events to the first that is wanted."""
    app = make_app(home.house, TOKEN, local(PORT))
    with TestClient(app, base_url=HOME, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        heard = []

        def until(wanted):
            while True:
                found = next((one for one in heard if wanted(one)), None)
                if found:
                    return found
                news = client.get(f"/api/events?after={heard[-1]['n'] if heard else 0}").json()["events"]
                assert news, f"it never came, only {[(one['kind'], one.get('run')) for one in heard]}"
                heard.extend(news)

        yield client, until


def test_the_pictures_of_what_was_judged_come_after_it_and_stop_for_something_newer(home, judged):
    for driver, part in (("means", "batch_mean"), ("endless", "RunningMean")):
        home.declare_picture(part=part, kind="bars", axes=["feature", "mean"], driver=driver)
    home.attempt.with_name("pictures.py").write_text(
        "import torch\n\n\ndef means(module):\n    return {'a': module.batch_mean(torch.ones(2, 1)).item()}\n\n\n"
        "def endless(module):\n    while True:\n        pass\n"
    )
    home.solve()
    client, until = judged
    first = client.post(f"{KATA}/run", json={"part": "batch_mean"}).json()["run"]
    picture = until(lambda one: one["kind"] == "picture")
    assert (picture["run"], picture["part"], picture["title"]) == (first, "batch_mean", "Means")
    assert picture["own"]["rows"] == picture["reference"]["rows"]
    second = client.post(f"{KATA}/run", json={"part": "batch_mean"}).json()["run"]  # while the endless one is drawn
    until(lambda one: one["kind"] == "end" and one["run"] == second)


def test_what_the_code_prints_comes_with_its_check(home, judged):
    home.solve(("return x.sum(0) / len(x)", "print('seen', len(x))\n    return x.sum(0) / len(x)"))
    client, until = judged
    number = client.post(f"{KATA}/run", json={"part": "batch_mean"}).json()["run"]
    first = until(lambda one: one["kind"] == "check")["check"]
    assert first["printed"].startswith("seen ")
    end = until(lambda one: one["kind"] == "end" and one["run"] == number)
    assert end["result"]["score"] == 100


def test_from_stub_to_earned_and_an_endless_loop_in_between(home, judged):
    client, until = judged

    def save_and_run(text, part):
        began = client.get(f"{KATA}/file").json()["hash"]
        client.put(f"{KATA}/file", json={"text": text}, headers={"If-Match": began})
        return client.post(f"{KATA}/run", json={"hash": digest(text), "part": part}).json()["run"]

    stub = home.attempt.read_text()
    first = save_and_run(stub, "RunningMean")
    end = until(lambda one: one["kind"] == "end" and one["run"] == first)
    assert {part["verdict"] for part in end["result"]["parts"]} == {"not started"}
    assert until(lambda one: one["kind"] == "check")["check"]["part"] == "RunningMean"

    endless = home.solution.replace("    self.count += len(x)", "    while True:\n            pass")
    assert endless != home.solution
    second = save_and_run(endless, "batch_mean")
    until(lambda one: one["kind"] == "check" and one["run"] == second)
    assert client.delete(f"/api/run/{second}").status_code == 200

    third = save_and_run(home.solution, "RunningMean")
    end = until(lambda one: one["kind"] == "end" and one["run"] == third)
    assert end["result"]["score"] == 100
    assert {one["part"] for one in end["gained"]} == {"batch_mean", "RunningMean"}
    assert [one.score for one in home.progress.history(ID)] == [0, 100]
    assert client.get(KATA).json()["last"]["source"] == digest(home.solution)
