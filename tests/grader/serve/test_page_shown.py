"""What the page shows: map, kata, hints, reference, report; and statements, of which nothing runs."""

import os

import msgspec
import pytest
from serve_page import ID, ended

from grader.learner.seat import Ended, Ready, Run
from grader.serve import shown
from grader.serve.statement import paragraph_html, statement_html
from grader.verdicts.finding import Finding
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.verdict import Verdict

pytest_plugins = ["serve_fixtures"]

KATA = f"/api/kata/{ID}"


def kata(client):
    return client.get(KATA).json()


def part(client, name):
    return next(one for one in kata(client)["parts"] if one["name"] == name)


def record(home, **verdicts):
    home.progress.record(ended(home.exercise, Run(1, "x = 1\n"), **verdicts).result, "x = 1\n", door="page")


def topics(client):
    sections = client.get("/api/map").json()["sections"]
    return {topic["id"]: topic for section in sections for tile in section["tiles"] for topic in tile["topics"]}


# ---- the map


def test_the_first_visit(client):
    answer = client.get("/api/map").json()
    assert answer["first_visit"]
    assert (answer["points_earned"], answer["points"], answer["edition"]) == (0, 100, "whole")
    assert (answer["next"]["part"], answer["next"]["begun"]) == ("batch_mean", False)
    assert topics(client)["mean.batch"]["state"] == "open"
    assert topics(client)["mean.batch"]["parts"][0]["part"] == "batch_mean"


def test_a_topic_is_tried_then_earned(client, home):
    record(home, batch_mean="not started", RunningMean="wrong")
    assert not client.get("/api/map").json()["first_visit"]
    assert (topics(client)["mean.batch"]["state"], topics(client)["mean.running"]["state"]) == ("open", "tried")
    record(home, batch_mean="passed", RunningMean="wrong")
    assert topics(client)["mean.batch"]["state"] == "earned"
    assert client.get("/api/map").json()["next"]["said"].startswith("wrong")


def test_a_progress_file_that_cannot_be_read_is_said_and_the_rest_shown(client, home):
    home.progress.path.parent.mkdir(exist_ok=True)
    home.progress.path.write_bytes(b"this is no progress file" * 100)
    for path in ("/api/map", KATA, "/api/report"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "damaged" in answer.json()["warning"]


# ---- a kata


def test_a_kata_says_all_that_the_page_begins_with(client, home, seats):
    shown = kata(client)
    assert shown["file"]["text"] == home.attempt.read_text()
    assert shown["path"] == f"exercises/{ID}/running_mean.py"
    assert (shown["seat"], shown["running"], shown["last"]) == ("warming", None, None)
    assert "def batch_mean(x: Tensor)" in shown["parts"][0]["contract"]
    assert "Returns (d,)." in shown["parts"][0]["contract"]
    assert "raise NotImplementedError" not in shown["parts"][0]["contract"]
    assert "def test_" in shown["examples"]
    assert len(seats) == 1


def test_why_and_answers_come_with_the_part(client, home):
    assert part(client, "batch_mean")["why"] == ""
    assert all(one["answer"] == "" for one in part(client, "batch_mean")["questions"])
    record(home, batch_mean="passed", RunningMean="wrong")
    assert "number of rows" in part(client, "batch_mean")["why"]
    assert part(client, "RunningMean")["why"] == ""


def test_a_hint_is_given_once_and_stays(client):
    first = client.post(f"{KATA}/hint", json={"part": "batch_mean"}).json()
    assert first == {"part": "batch_mean", "number": 1, "of": 3, "text": "What is a mean?"}
    assert client.post(f"{KATA}/hint", json={"part": "batch_mean"}).json()["number"] == 2
    assert part(client, "batch_mean")["hints_seen"] == ["What is a mean?", "A sum, and a count."]
    assert part(client, "RunningMean")["hints_seen"] == []


def test_a_solution_is_shown_once_it_is_earned(client, home):
    refused = client.get(f"{KATA}/solution?part=batch_mean")
    assert refused.status_code == 403
    assert "Not earned yet: batch_mean." in refused.json()["error"]
    assert "x.sum" not in refused.text
    record(home, batch_mean="passed", RunningMean="wrong")
    assert "x.sum(0) / len(x)" in client.get(f"{KATA}/solution?part=batch_mean").json()["text"]
    assert client.get(f"{KATA}/solution?part=RunningMean").status_code == 403
    assert client.get(f"{KATA}/solution").status_code == 403


def test_a_solution_is_shown_once_it_is_given_up(client):
    assert client.post(f"{KATA}/give-up", json={"part": "RunningMean"}).status_code == 200
    assert "self.count += len(x)" in client.get(f"{KATA}/solution?part=RunningMean").json()["text"]
    assert client.get(f"{KATA}/solution?part=batch_mean").status_code == 403
    assert part(client, "RunningMean")["gave_up"]
    assert not part(client, "batch_mean")["gave_up"]


def test_nothing_of_the_solution_is_in_what_is_shown_before(client):
    for path in ("/api/map", KATA, f"{KATA}/file", f"{KATA}/attempts", "/api/report"):
        assert "x.sum" not in client.get(path).text


def test_attempts_are_numbered_as_grader_history_numbers_them(client, home):
    record(home, batch_mean="passed", RunningMean="wrong")
    client.post(f"{KATA}/keep", json={"text": "draft = 1\n"})
    first, second = client.get(f"{KATA}/attempts").json()["attempts"]
    assert (first["number"], first["door"], first["score"], first["earned"]) == (1, "page", 30, ["batch_mean"])
    assert (second["number"], second["door"], second["max_score"]) == (2, "kept", 0)
    assert client.get(f"{KATA}/attempts/3").status_code == 400


# ---- a student edition


@pytest.fixture
def student(client, home):
    import shutil

    for tree in ("solutions", "tests"):
        shutil.rmtree(home.root / tree)
    stub = home.exercise.released_stub
    stub.parent.mkdir(parents=True)
    stub.write_text(home.attempt.read_text())
    return client


def test_a_student_edition_runs_its_examples_and_says_what_it_cannot_know(student, home, seats, until):
    assert kata(student)["edition"] == "student"
    assert "def test_" in kata(student)["examples"]
    assert "Returns (d,)." in kata(student)["parts"][0]["contract"]
    assert student.post(f"{KATA}/give-up", json={"part": "batch_mean"}).status_code == 200
    assert student.get(f"{KATA}/solution?part=batch_mean").status_code == 403
    assert student.get("/api/map").json()["next"]["part"] == "batch_mean"
    student.post(f"{KATA}/run", json={})
    seats[0].say(Ready(1))
    until("seat", after=2)
    run = seats[0].asked[0]
    planned = {"batch_mean": ["test_two_rows"]}
    passed = assemble(
        home.exercise,
        [CheckResult("test_two_rows", "batch_mean", Verdict.PASSED)],
        planned,
        seed=0,
        isolation="examples",
    )
    seats[0].say(Ended(run.number, passed))
    end, _ = until("end")
    assert (end["gained"], end["next"]["part"]) == ([], "RunningMean")
    assert home.progress.history(ID) == []
    assert home.progress.earned() == {}
    assert home.progress.with_examples() == {ID: {"batch_mean"}}
    assert student.get("/api/map").json()["points_earned"] == 0


def test_a_student_edition_saves_and_resets(student, home):
    began = kata(student)["file"]["hash"]
    assert student.put(f"{KATA}/file", json={"text": "x = 1\n"}, headers={"If-Match": began}).status_code == 200
    assert student.post(f"{KATA}/reset", json={}).json()["stub"]


# ---- the report


def test_the_report_counts_mistakes_by_attempt_and_draws_points_over_time(client, home):
    finding = Finding(kind="values", mistake="a mean of means")
    checks = [
        CheckResult("test_a", "RunningMean", Verdict.WRONG, finding=finding),
        CheckResult("test_b", "RunningMean", Verdict.WRONG, finding=finding),
    ]
    wrong = assemble(home.exercise, checks, {"RunningMean": ["test_a", "test_b"]}, seed=0, isolation="full")
    home.progress.record(wrong, None, door="page")
    home.progress.record(wrong, None, door="page")
    record(home, batch_mean="passed", RunningMean="passed")
    record(home, batch_mean="wrong", RunningMean="wrong")
    client.post(f"{KATA}/hint", json={"part": "batch_mean"})
    answer = client.get("/api/report").json()
    assert answer["mistakes"] == [
        {"said": "a mean of means", "times": 2, "exercise": ID, "part": "RunningMean"}
    ]  # fmt: skip
    (exercise,) = answer["exercises"]
    assert [one["points"] for one in exercise["line"]] == [0, 100]  # what was earned stays
    assert (exercise["attempts"], exercise["hints"], exercise["points_earned"]) == (4, 1, 100)


def test_the_report_of_nothing(client):
    answer = client.get("/api/report").json()
    assert (answer["exercises"], answer["mistakes"]) == ([], [])


def test_the_report_is_one_file_in_which_nothing_runs(client, cli, home):
    finding = Finding(kind="values", mistake="<script>alert(1)</script>")
    checks = [CheckResult("test_a", "RunningMean", Verdict.WRONG, finding=finding)]
    wrong = assemble(home.exercise, checks, {"RunningMean": ["test_a"]}, seed=0, isolation="full")
    home.progress.record(wrong, None, door="page")
    record(home, batch_mean="passed", RunningMean="passed")
    assert cli("report", "-o", "mine.html").out == "wrote mine.html\n"
    text = (home.root / "mine.html").read_text()
    assert "Points: 100. Exercises begun: 1. Attempts: 2." in text
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert text.count("<svg ") == 1


def test_a_report_of_nothing_is_a_file_too(cli, home):
    cli("report")
    assert "No attempt yet." in (home.root / "report.html").read_text()


# ---- statements


def rendered(home, text):
    return statement_html(text, home.exercise)


def test_the_first_heading_is_the_pages_own(home):
    assert rendered(home, "# Title\n\nWhy.\n\n## Where people trip\n") == (
        '<p>Why.</p>\n<h2 id="s-where-people-trip">Where people trip</h2>\n'
    )


def test_what_folds_a_text_stays_and_comments_go(home):
    made = rendered(home, "<!-- questions -->\n\n<details><summary>Why `x`?</summary>\n\nSo *that*.\n</details>\n")
    assert "<details><summary>Why `x`?</summary>" in made
    assert "<p>So <em>that</em>.</p>" in made
    assert "<!--" not in made


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a <svg onload=alert(1)> b",
        '<details ontoggle="alert(1)" open>x</details>', "[x](javascript:alert(1))", "<iframe src=//evil>",
        "![x](javascript:alert(1))", '<img src="https://evil.example/x.png" onerror="x">', "<a href=javascript:x>x</a>",
        "$\\href{javascript:alert(1)}{x}$", "<style>*{}</style>", "<math><mtext><script>x</script></mtext></math>",
        "<details\nonload=x>", "<!--><script>x</script>-->", '<img src="figure.svg" alt="&quot; onerror=&quot;x">',
    ],
)  # fmt: skip
def test_nothing_of_a_statement_runs(home, text):
    from html.parser import HTMLParser

    class Found(HTMLParser):
        tags, names, leads = set(), set(), []

        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)
            self.names |= {name for name, _ in attrs}
            self.leads += [value for name, value in attrs if name in ("href", "src", "srcset")]

    (home.attempt.parent / "figure.svg").write_text("<svg/>")
    found = Found()
    found.feed(rendered(home, text) + paragraph_html(text))
    assert not found.tags & {"script", "iframe", "svg", "style", "object"}
    assert not [name for name in found.names if name.startswith("on")]
    assert all(lead.startswith(("data:image/", "http", "#")) for lead in found.leads), found.leads
    assert not [lead for lead in found.leads if "evil" in lead]


def test_pictures_of_the_exercise_come_along_and_no_others(home):
    (home.attempt.parent / "figure.svg").write_text("<svg/>")
    made = rendered(
        home, '![Four rows](figure.svg)\n\n<picture><img src="figure.svg" alt="Five" width="9"></picture>\n'
    )
    assert made.count('src="data:image/svg+xml;base64,') == 2
    assert 'alt="Four rows"' in made
    assert 'alt="Five" width="9"' in made
    for other in ("../../pyproject.toml", "nothing.svg", "/etc/passwd", "https://evil.example/x.png"):
        assert rendered(home, f"![words]({other})") == "<p>words</p>\n"


def test_links_lead_where_the_page_can_go(home):
    made = rendered(
        home, "[a](https://arxiv.org/abs/1) [b](../dl_902_other/README.md) [c](running_mean.py) [d](#why-so)"
    )
    assert '<a href="https://arxiv.org/abs/1" target="_blank" rel="noreferrer noopener">a</a>' in made
    assert '<a href="#/kata/dl_902_other">b</a>' in made
    assert "<span>c</span>" in made
    assert '<a href="#s-why-so">d</a>' in made


def test_formulas_are_mathml_and_stay_text_where_they_cannot_be(home):
    made = rendered(home, "A $\\frac{a}{b}$, $`c_1`$ and\n\n$$\n\\sum_i x_i\n$$\n\nbut $\\bar{$ costs $5.\n")
    assert made.count("<math") == 3
    assert 'display="block"' in made
    assert "costs $5" in made


def test_what_is_shown_can_be_sent(home):
    from grader.serve import files

    disk = files.on_disk(home.exercise)
    made = shown.kata(home.house, home.exercise, disk, seat="cold", running=None, n=0)
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) == made


def test_a_statement_that_never_ends_is_not_waited_for(home, client):
    """A pipe in its place would be waited for as long as nobody writes to it."""
    home.exercise.statement.unlink()
    os.mkfifo(home.exercise.statement)
    assert "README.md cannot be read" in kata(client)["statement"]
