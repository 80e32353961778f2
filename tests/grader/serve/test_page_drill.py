"""The Drill screen's server: the questions of `grader drill`, one after the other; no answer before its time."""

import shutil
from datetime import UTC, date, datetime, time, timedelta

import every_drill
import pytest
from serve_page import ID

from grader.drills.load import all_questions
from grader.drills.question import variant
from grader.drills.same import answers, stands_in
from grader.drills.schedule import Answer
from grader.learner.drill import Wish, wanted
from grader.records.drilled import Drilled
from grader.serve import drills

pytest_plugins = ["serve_fixtures"]

EVERY_DRILL = every_drill.__file__
TODAY = date(2026, 3, 10)
BATCH, GAP = "dl_901.bytes_of_rows", "dl_901.gap"


@pytest.fixture(autouse=True)
def noon(monkeypatch):
    """The clock begins at noon of TODAY: no test passes midnight."""
    begun = datetime.now(UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz):
            return datetime.combine(TODAY, time(12), tz) + (datetime.now(tz) - begun)

    monkeypatch.setattr("grader.base.now.datetime", Clock)


@pytest.fixture
def drilling(home):
    shutil.copy(EVERY_DRILL, home.root / "exercises" / ID / "drills.py")
    return home


@pytest.fixture
def ask(client, drilling):
    """The next question: its name, and what is known of it."""

    def next(*but, **wish):
        answer = client.post("/api/drill", json={**wish, "but": but})
        assert answer.status_code == 200, answer.text
        return answer.json()["turn"]

    return next


def say(client, turn, typed, what="answer"):
    return client.post(f"/api/drill/{turn['turn']}/{what}", json={"typed": typed})


def variant_of(home, turn):
    return variant(all_questions(home.house)[turn["asked"]["id"]], turn["asked"]["seed"])


def answered(home, id, right=True, day=TODAY):
    at = f"{day}T09:00:00.000+00:00"
    Drilled(home.root).answer(Answer(id, 1, 1, at, "5", "right" if right else "wrong", "", 0, 9.0))


# ---- a sitting


def test_a_sitting_asks_what_the_terminal_asks_each_question_once(client, drilling, ask):
    expected = [one.id for one in wanted(drilling.house, Wish()).queue]
    asked, places = list[str](), list[tuple[int, int]]()
    while turn := ask(*asked):
        asked.append(turn["asked"]["id"])
        places.append((turn["place"], turn["of"]))
        if len(asked) % 2:  # each other one is skipped
            say(client, turn, "1")
    assert asked == expected
    assert places == [(n, 6) for n in range(1, 7)]
    assert len(Drilled(drilling.root).answers()) == 3
    over = client.post("/api/drill", json={"but": asked}).json()
    assert (over["lacks"], over["why"]) == ("skipped", "Nothing else is due: you skipped 3.")


def test_what_was_skipped_counts_as_asked_for_the_next_topic(ask):
    assert ask()["asked"]["topic"] == "mean.batch"
    assert ask(BATCH)["asked"]["topic"] == "mean.running"


def test_a_wrong_answer_is_named_shown_and_kept(client, drilling, ask):
    turn = ask()
    n = variant_of(drilling, turn).asked.given["n"]
    verdict = say(client, turn, f"{n} KB").json()["verdict"]
    assert (verdict["found"], verdict["again"], verdict["warning"]) == ("SECRET: KB for KiB", "again tomorrow", "")
    assert verdict["told"]["answer"] == f"{1024 * n:,} B"
    assert verdict["told"]["worked"] == f"1024 · {n}"
    (kept,) = Drilled(drilling.root).answers()
    assert (kept.question, kept.typed, kept.verdict, kept.trap) == (BATCH, f"{n} KB", "wrong", "SECRET: KB for KiB")
    assert kept.seed == turn["asked"]["seed"]


def test_a_right_answer_comes_back_later(client, drilling, ask):
    turn = ask()
    verdict = say(client, turn, f"{variant_of(drilling, turn).asked.given['n']} KiB").json()["verdict"]
    assert (verdict["found"], verdict["again"]) == ("right", "again in 2 days")


def test_what_cannot_be_read_is_asked_again(client, drilling, ask):
    turn = ask()
    refused = say(client, turn, "1,5")
    assert refused.status_code == 422
    assert "A comma only stands between thousands" in refused.json()["error"]
    assert say(client, turn, " ").status_code == 422
    assert Drilled(drilling.root).answers() == []
    assert client.get(f"/api/drill/{turn['turn']}").json() == turn


def test_an_answer_given_twice_counts_once(client, drilling, ask):
    """A page whose server's reply was lost says it again."""
    turn = ask()
    first = say(client, turn, "7").json()
    assert say(client, turn, "8").json() == first
    assert client.get(f"/api/drill/{turn['turn']}").json() == first
    assert len(Drilled(drilling.root).answers()) == 1


def test_hints_come_one_by_one_and_count(client, drilling, ask):
    turn = ask()
    hint = f"/api/drill/{turn['turn']}/hint"
    assert client.post(hint, json={}).json()["hints"] == ["A row is 1 KiB."]
    assert client.post(hint, json={}).json()["hints"] == ["A row is 1 KiB.", "1024 · n"]
    assert len(client.post(hint, json={}).json()["hints"]) == 2
    say(client, turn, "7")
    assert Drilled(drilling.root).answers()[0].hints == 2


def test_a_hint_after_the_answer_changes_nothing(client, drilling, ask):
    turn = ask()
    told = say(client, turn, "7").json()
    assert client.post(f"/api/drill/{turn['turn']}/hint", json={}).json() == told


# ---- what was understood


@pytest.mark.parametrize(
    ("id", "typed", "said"),
    [
        (BATCH, "2*1024", "2,048 B"), (BATCH, "2 KiB", "2,048 B"), (BATCH, "1/3", "0.3333 B"),
        (GAP, "3 * q", "return x[3 * q]"), ("dl_901.printed", "7", ""),
        ("dl_901.wrong_line", "2", "total = sum(rows)"),
    ],
)  # fmt: skip
def test_what_is_typed_is_read_back_in_the_terms_of_the_question(client, ask, id, typed, said):
    assert say(client, turn_of(ask, id), typed, "read").json() == {"said": said, "problem": ""}


def test_choices_and_orders_are_read_back_as_they_are_shown(client, ask):
    which, order = turn_of(ask, "dl_901.which"), turn_of(ask, "dl_901.order")
    assert say(client, which, "2", "read").json()["said"] == which["asked"]["options"][1]
    assert say(client, order, "3 1 2", "read").json()["said"] == "; ".join(
        order["asked"]["options"][i] for i in (2, 0, 1)
    )


def test_what_cannot_be_read_back_says_why(client, drilling, ask):
    turn = ask()
    said = say(client, turn, "3 ms", "read").json()
    assert said == {"said": "", "problem": "'ms' measures s; asked is B."}
    assert Drilled(drilling.root).answers() == []


def turn_of(ask, id):
    """The turn of one question, however many come before."""
    but = list[str]()
    while (turn := ask(*but))["asked"]["id"] != id:
        but.append(turn["asked"]["id"])
    return turn


# ---- nothing is told before its time


def test_no_answer_no_trap_and_no_why_before_the_answer(client, drilling, ask):
    but, said = list[str](), list[str]()
    while turn := ask(*but):
        but.append(turn["asked"]["id"])
        address = f"/api/drill/{turn['turn']}"
        one = variant_of(drilling, turn)
        before = [
            client.get(address).text,
            client.post(f"{address}/hint", json={}).text,
            *(say(client, turn, typed, "read").text for typed in ("1", "2 1 3", "x", "nan", "9" * 200)),
            say(client, turn, "1,5" if turn["asked"]["kind"] == "number" else "").text,
            client.get("/api/map").text,
            client.get("/api/report").text,
        ]
        for text in before:
            assert "SECRET" not in text
            if turn["asked"]["kind"] in ("number", "predict", "blank"):
                assert not any(stands_in(answer, text) for answer in answers(one.asked))
        after = say(client, turn, "1 2 3" if turn["asked"]["kind"] == "order" else "1").text
        assert "SECRET why." in after
        said.append(turn["asked"]["kind"])
    assert set(said) == {"number", "choice", "order", "blank", "predict", "bug"}


# ---- which are asked


def test_a_topic_a_role_and_what_is_due(client, drilling, ask):
    answered(drilling, GAP, day=TODAY - timedelta(days=40))
    answered(drilling, "dl_901.which", day=TODAY - timedelta(days=1))
    assert ask(due=True)["asked"]["id"] == GAP
    assert ask(GAP, due=True) is None
    assert ask(topic="mean.batch")["asked"]["topic"] == "mean.batch"
    assert ask(BATCH, topic="mean.batch")["asked"]["topic"] == "mean.batch"
    assert ask(role="llm")["asked"]["id"]
    everything = ask(all=True)
    assert everything["of"] == 6


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"topic": "mean.bach"}, "There is no topic 'mean.bach'. Did you mean"),
        ({"role": "chef"}, "There is no role 'chef'."),
    ],
)
def test_what_is_not_known_is_refused(client, drilling, wish, said):
    answer = client.post("/api/drill", json=wish)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_enough_for_a_day_is_said(client, drilling, monkeypatch):
    monkeypatch.setattr("grader.drills.choose.A_DAY", 1)
    answered(drilling, GAP)
    nothing = client.post("/api/drill", json={}).json()
    assert (nothing["turn"], nothing["lacks"]) == (None, "enough")
    assert nothing["why"].startswith("Enough for today: ")
    assert nothing["why"].endswith(" Left for tomorrow: 5.")


def test_two_of_a_topic_never_follow_each_other(client, drilling):
    for id in (GAP, "dl_901.order", "dl_901.wrong_line", BATCH):
        answered(drilling, id)
    nothing = client.post("/api/drill", json={}).json()
    assert (nothing["lacks"], nothing["topic"]) == ("held", "mean.batch")
    assert client.post("/api/drill", json={"topic": "mean.batch"}).json()["turn"]


def test_nothing_is_due(client, drilling):
    for id in all_questions(drilling.house):
        answered(drilling, id)
    nothing = client.post("/api/drill", json={}).json()
    assert (nothing["lacks"], nothing["why"]) == ("none", "Nothing is due.")
    assert client.post("/api/drill", json={"all": True}).json()["turn"]


# ---- where something is missing


def test_a_house_without_drills_says_so(client):
    answer = client.post("/api/drill", json={})
    assert (answer.status_code, answer.json()["error"]) == (400, "There are no drills here yet.")
    assert (client.get("/api/map").json()["drills"], client.get("/api/map").json()["drills_due"]) == (0, 0)


def test_a_question_of_another_start_is_not_open(client, drilling):
    for method, path in (("GET", "x"), ("POST", "x/read"), ("POST", "x/answer"), ("POST", "x/hint")):
        body = {} if path == "x/hint" else {"typed": "1"}
        answer = client.request(method, f"/api/drill/{path}", json=None if method == "GET" else body)
        assert (answer.status_code, answer.json()["error"].endswith("Ask for the next one.")) == (404, True)


def test_the_oldest_of_many_open_questions_goes(client, ask, monkeypatch):
    monkeypatch.setattr(drills, "_MOST_OPEN", 2)
    first, second, third = ask(), ask(), ask()
    found = [client.get(f"/api/drill/{one['turn']}").status_code for one in (first, second, third)]
    assert found == [404, 200, 200]


def test_a_damaged_file_of_progress_is_said_and_kept(client, drilling, ask):
    turn = ask()
    drilling.progress.path.parent.mkdir(exist_ok=True)
    drilling.progress.path.write_bytes(b"this is no progress file" * 100)
    before = drilling.progress.path.read_bytes()
    answer = client.post("/api/drill", json={})
    assert answer.status_code == 400
    assert "is damaged" in answer.json()["error"]
    verdict = say(client, turn, "7").json()["verdict"]
    assert verdict["told"]["why"] == "SECRET why."
    assert "is damaged" in verdict["warning"]
    assert verdict["again"] == ""
    assert client.get("/api/map").status_code == 200
    assert drilling.progress.path.read_bytes() == before


def test_a_student_edition_has_its_drills(client, drilling, ask):
    for tree in ("solutions", "tests"):
        shutil.rmtree(drilling.root / tree)
    stub = drilling.exercise.released_stub
    stub.parent.mkdir(parents=True)
    stub.write_text(drilling.attempt.read_text())
    assert say(client, ask(), "7").json()["verdict"]["again"] == "again tomorrow"
    assert client.get("/api/map").json()["drills_new"] == 5


def test_a_long_list_of_what_was_asked_takes_no_time_of_others(client, drilling, ask):
    assert ask(*map(str, range(200_000)))["place"] == 200_001


def test_a_long_answer_is_refused_before_it_is_kept(client, drilling, ask):
    for id in ("dl_901.which", GAP, "dl_901.wrong_line", "dl_901.order", "dl_901.printed", BATCH):
        refused = say(client, turn_of(ask, id), "(" * 100_000 + "1")
        assert refused.status_code == 422
        assert "characters; write at most" in refused.json()["error"]
    assert Drilled(drilling.root).answers() == []


# ---- the map


def topics(client):
    sections = client.get("/api/map").json()["sections"]
    return {topic["id"]: topic for section in sections for tile in section["tiles"] for topic in tile["topics"]}


def test_the_map_counts_drills_beside_parts(client, drilling):
    assert client.get("/api/map").json()["drills"] == 6
    assert [client.get("/api/map").json()[name] for name in ("drills_due", "drills_new")] == [0, 6]
    assert [topics(client)["mean.batch"][name] for name in ("state", "drills", "drilled")] == ["open", 3, ""]
    for day in (1, 2):
        for name in ("bytes_of_rows", "which", "printed"):
            answered(drilling, f"dl_901.{name}", day=TODAY - timedelta(days=300 - day))
    assert [topics(client)["mean.batch"][name] for name in ("state", "drilled")] == ["open", "fading"]
    assert [client.get("/api/map").json()[name] for name in ("drills_due", "drills_new")] == [3, 3]


def test_a_topic_without_a_part_shows_its_drills_alone(client, drilling):
    path = drilling.root / "exercises" / "dl_901_running_mean" / "drills.py"
    without = next(id for id, topic in topics(client).items() if not topic["parts"])
    path.write_text(path.read_text().replace("mean.batch", without))
    assert topics(client)[without]["state"] == "drills"
    for back in (300, 299):
        for name in ("bytes_of_rows", "which", "printed"):
            answered(drilling, f"dl_901.{name}", day=TODAY - timedelta(days=back))
    assert topics(client)[without]["state"] == "fading"
    for name in ("bytes_of_rows", "which", "printed"):
        answered(drilling, f"dl_901.{name}")
    assert topics(client)[without]["state"] == "drilled"
