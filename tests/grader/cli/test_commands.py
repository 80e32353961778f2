import json
import os
import re
import subprocess
import sys

import pytest
from shared import PATIENCE

from conftest import environment
from grader.bank.derived import stub_of

ID = "dl_901_running_mean"
FILE = f"exercises/{ID}/running_mean.py"
WRONG = ("* len(x) / self.count", "/ 2")


@pytest.fixture(scope="module")
def checked(homes):
    """`grader check` on an attempt whose batch_mean is right and whose RunningMean is wrong."""
    home = homes()
    home.solve(WRONG)
    return home, home.grader("check", "901")


@pytest.fixture
def passed(home):
    home.solve()
    assert home.grader("check").code == 0
    return home


# ---- bad input


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["chek"], "no command 'chek'. Did you mean 'check'?"),
        (["zzzz"], "no command 'zzzz'."),
        (["check", "runing_mean"], "There is no exercise 'runing_mean'. Did you mean 'running_mean'?"),
        (["check", "902"], "dl_902_variance is still to come"),
        (["check", "dl_9011"], "Did you mean 'dl_901_running_mean'?"),
        (["check", "mean"], "Did you mean 'running_mean'?"),
        (["hint", "9"], "There is no exercise '9'"),
        (["hint", "901", "zzzz"], "has no part 'zzzz'. `grader status 901` shows its parts."),
        (["hint", "901", "RuningMean"], "has no part 'RuningMean'. Did you mean 'RunningMean'?"),
        (["solution", "901", "batch"], "has no part 'batch'. Did you mean 'batch_mean'?"),
        (["history", "901", "--show", "1"], "has no attempt yet"),
        (["questions", "901", "batch"], "has no part 'batch'. Did you mean 'batch_mean'?"),
        (["reset", "running"], "Did you mean 'running_mean'?"),
        (["dev", "audit", "901", "--mutants", "some"], "--mutants takes all, none or a number, not 'some'"),
        (["dev", "audit", "nope"], "There is no exercise 'nope'"),
        (["dev", "new", "beam_search"], "'beam_search' cannot name an exercise: dl_020_beam_search could."),
        (["dev", "new", ID], "is there already; nothing was written"),
        (["check", "--sed", "1"], "No such option"),
        (["hint"], "Missing argument"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_nearest_and_exit_code_2(cli, args, said):
    done = cli(*args)
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert done.out == ""


@pytest.mark.parametrize("command", ["status", "list", "check", "hint", "dev build"])
def test_a_bad_key_in_the_facts_stops_a_command_in_one_sentence(home, cli, command):
    home.edit(f"exercises/{ID}/exercise.toml", ("points = 30", "pionts = 30"))
    done = cli(*command.split(), *(["901"] if command in ("check", "hint") else []))
    assert done.code == 2
    assert "unknown field `pionts`" in done.err
    assert "Did you mean 'points'?" in done.err


def test_help_lists_every_command(cli):
    done = cli("--help")
    assert done.code == 0
    for command in ("status", "list", "check", "hint", "questions", "solution", "reset", "history", "grade", "dev"):
        assert re.search(rf"^  {command}\b", done.out, flags=re.MULTILINE)


# ---- questions


@pytest.mark.parametrize("group", [[], ["class"], ["dev"]], ids=" ".join)
def test_help_says_each_commands_sentence_whole(group):
    from click.testing import CliRunner

    from grader.cli.main import main

    said = CliRunner().invoke(main, [*group, "-h"], terminal_width=60).output.partition("Commands:")[2]
    assert not [line for line in said.splitlines() if line.endswith("...") or len(line) > 60]
    assert ("  audit" in said) == (group == ["dev"])  # elsewhere it is an old name, and hidden


def test_a_sentence_is_folded_where_a_terminal_would_break_its_words(home):
    import pexpect

    child = pexpect.spawn(
        sys.executable, ["-m", "grader", "hint", "901", "zzzz"], cwd=str(home.root), env=environment(TERM="dumb"),
        encoding="utf-8", dimensions=(24, 60), timeout=PATIENCE,
    )  # fmt: skip
    child.expect(pexpect.EOF)
    lines = child.before.splitlines()
    assert [line for line in lines if len(line) > 60] == []
    assert lines[-1] == "`grader status 901` shows its parts."  # what is typed stays on one line


def test_the_answers_come_with_the_parts_or_when_asked_for(home, cli):
    assert "Refuse it, or the NaN" not in cli("questions", "901").out
    assert "Earn batch_mean to read on, or add --answers." in cli("questions", "901").out
    assert "Refuse it, or the NaN" in cli("questions", "901", "batch_mean", "--answers").out
    home.solve(WRONG)
    home.grader("check", "901")
    said = cli("questions", "901").out
    assert "Refuse it, or the NaN" in said
    assert "Batches differ in size" not in said


# ---- check


def test_check_shows_what_pytest_shows_and_exits_1(checked):
    _, done = checked
    assert done.code == 1
    assert "30 of 100 points" in done.out
    assert "✓ batch_mean" in done.out
    assert "RunningMean over batches of 2, 5, 1: entry [0]:" in done.out
    assert "Stuck? grader hint 901 RunningMean" in done.out
    assert "Traceback" not in done.said


def test_check_is_plain_text_of_80_columns_in_a_pipe(checked):
    _, done = checked
    assert "\x1b" not in done.said
    assert all(len(line) <= 80 or "again: pytest" in line for line in done.out.splitlines())


def test_check_is_recorded_with_its_source(checked):
    home, _ = checked
    (kept,) = home.progress.history(ID)
    assert (kept.door, kept.score, kept.earned) == ("check", 30, ("batch_mean",))
    assert home.progress.source(kept.source) == home.attempt.read_text()


def test_practice_and_check_count_alike(checked, homes):
    home = homes()
    home.solve(WRONG)
    practised = home.pytest(f"exercises/{ID}")
    home.solve()
    checked = home.grader("check")
    assert checked.code == 0
    assert [(kept.door, kept.score) for kept in home.progress.history(ID)] == [("pytest", 30), ("check", 100)]
    assert (
        "  +30  batch_mean\n      The sum is divided by" in practised.out
    )  # each is told by the run that first earns it
    assert "+70" not in practised.out
    assert "  +70  RunningMean\n" in checked.out
    assert "grader questions 901 RunningMean\n" in checked.out
    assert "+30" not in checked.out


def test_check_of_one_part_judges_it_alone(home, cli):
    home.solve(WRONG)
    done = home.grader("check", "901", "batch_mean")
    assert done.code == 0  # what was asked for is earned
    assert "30 of 30 points in 1 of 2 parts" in done.out
    assert "RunningMean" not in done.out
    assert home.grader("check", "901", "RunningMean").code == 1
    refused = cli("check", "901", "batch_meen")
    assert refused.code == 2
    assert "has no part 'batch_meen'. Did you mean 'batch_mean'?" in refused.said


def test_check_prints_json_and_nothing_else(home):
    home.solve(WRONG)
    done = home.grader("check", "901", "--json", "--seed", "5")
    (result,) = json.loads(done.out)
    assert done.code == 1
    assert (result["exercise"], result["score"], result["max_score"], result["seed"]) == (ID, 30, 100, 5)
    assert [(part["name"], part["earned"], part["verdict"]) for part in result["parts"]] == [
        ("batch_mean", 30, "passed"),
        ("RunningMean", 0, "wrong"),
    ]
    assert result["parts"][1]["checks"][0]["id"] == "test_stream_equals_whole"


def test_check_of_a_missing_file_says_how_to_get_it_back(home, cli):
    home.attempt.unlink()
    done = cli("check", "901")
    assert done.code == 2
    assert f"{FILE} is missing: `grader reset 901` writes it again" in done.err
    assert cli("reset", "901").code == 0
    assert home.attempt.read_text() == stub_of(home.exercise)


@pytest.mark.parametrize("path", [FILE, f"exercises/{ID}", "running_mean.py", f"./{FILE}"])
def test_an_exercise_may_be_named_by_its_path(cli, path):
    assert cli("status", path).out.startswith(f"{ID} · Running mean")


def test_a_folder_in_the_place_of_the_file_is_a_sentence(home, cli):
    home.attempt.unlink()
    home.attempt.mkdir()
    assert "is missing: `grader reset 901`" in cli("check", "901").err
    for args in (["reset", "901"], ["reset", "901", "batch_mean"]):
        done = cli(*args)
        assert (done.code, f"{FILE} is a folder, and cannot be kept: move it away first." in done.err) == (2, True)


def test_a_file_that_cannot_be_used_is_a_sentence(monkeypatch):
    from click.testing import CliRunner

    from grader.cli.main import main

    def denied():
        raise PermissionError(13, "Permission denied", "exercises/coverage.toml")

    monkeypatch.setattr("grader.cli.learner.find_house", denied)
    done = CliRunner().invoke(main, ["list"])
    assert (done.exit_code, done.stderr) == (2, "grader: exercises/coverage.toml: Permission denied.\n")


def test_checks_that_cannot_run_are_not_the_learners_fault(home):
    home.solve()
    home.check("import no_such_package\n")
    done = home.grader("check")
    assert done.code == 3
    assert "This is not your fault" in done.err
    assert "no_such_package" in done.err
    assert home.progress.history(ID) == []


def test_check_of_a_broken_file_is_one_error(home):
    home.attempt.write_bytes(b"x = '\xff'\n")
    done = home.grader("check", "901")
    assert done.code == 1
    assert "running_mean.py is not UTF-8 text" in done.out
    assert "Traceback" not in done.said
    home.attempt.write_text("import torch\nx = (\n")
    lines = home.grader("check", "901").out.splitlines()
    assert lines[-3:-1] == ["  Next: mend it, and all parts are judged. It is", f"    {FILE}:2"]
    assert "Stuck?" not in "\n".join(lines)  # no hint of a part helps here


# ---- status and list


def test_status_counts_what_is_earned(checked, monkeypatch):
    home, _ = checked
    done = home.grader("status")
    assert done.code == 0
    assert re.search(r"ML engineer\s+earned +50% of what is here \(25% of all asked\)", done.out)
    assert re.search(r"LLM engineer\s+earned +50% of what is here \(20% of all asked\)", done.out)
    for line in ("Points        30 of 100", "Exercises     0 of 1 (2 planned)", "Topics        1 of 6"):
        assert line in done.out
    assert "Continue with RunningMean" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": "xterm-256color", "NO_COLOR": "1"}], ids="_".join)
def test_the_table_fits_sixty_columns_and_is_plain(checked, env):
    home, _ = checked
    shown = "; ".join(f"{sys.executable} -m grader {screen}" for screen in ("status", "list", "status --topics"))
    command = f"stty cols 60; {shown}"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], cwd=home.root, capture_output=True, text=True, timeout=PATIENCE,
        env=environment(**env),
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert "Averages" in done.stdout
    assert "\x1b" not in done.stdout
    assert [line.endswith("asked)") for line in lines if line.startswith(("ML engineer", "LLM engineer"))] == [True] * 2
    assert not [line for line in lines if len(line.rstrip()) > 80]
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("Topics  "))]
    topics = lines[next(i for i, line in enumerate(lines) if line.startswith("More: ")) + 1 :]
    assert any("mean.batch" in line for line in topics)
    assert max(len(line.rstrip()) for line in (*table, *topics)) <= 60
    assert "\x1b" not in done.stdout


def test_the_desk_says_what_is_next_in_a_few_lines(checked):
    home, _ = checked
    done = home.grader()
    lines = done.out.splitlines()
    assert lines[:2] == ["30 of 100 points", "Continue with RunningMean · Running mean"]
    assert "last: wrong, 0 of 1 checks pass" in done.out
    assert f"  edit   {FILE}" in lines
    assert len(lines) <= 9


def test_the_desk_continues_where_one_was_and_begins_with_the_track():
    from datetime import UTC, datetime

    from grader.bank.catalog import find_house
    from grader.learner import desk

    house = find_house()
    first = desk.following(house, {}, {})
    assert (first.exercise.id, first.part, first.begun) == ("nn_001_backprop", first.exercise.parts[0], False)
    done = {"nn_001_backprop": {part.name for part in first.exercise.parts}}
    assert desk.following(house, done, {}).exercise.id == "dl_005_loss_functions"
    now = datetime.now(UTC).isoformat()
    worked_on = {"dl_014_distributed": "2026-01-01T00:00:00", "dl_018_vit": now}
    assert desk.following(house, {}, worked_on).exercise.id == "dl_018_vit"
    earned = {"dl_018_vit": {part.name for part in house.exercises["dl_018_vit"].parts}}
    assert desk.following(house, earned, worked_on).exercise.id == "dl_014_distributed"
    everything = {id: {part.name for part in one.parts} for id, one in house.exercises.items()}
    assert desk.following(house, everything, worked_on) is None


def test_no_hint_is_given_where_all_is_earned(passed):
    done = passed.grader("hint", "901")
    assert (done.code, "You have earned every part" in done.err) == (2, True)
    assert passed.grader("hint", "901", "batch_mean").code == 0


def test_one_part_is_the_stub_again_and_the_rest_stays(home):
    home.solve(WRONG)
    done = home.grader("reset", "901", "batch_mean")
    assert done.code == 0, done.said
    text = home.attempt.read_text()
    assert text[text.index("class") :] == home.solution.replace(*WRONG)[home.solution.index("class") :]
    assert "raise NotImplementedError" in text[: text.index("class")]
    assert "reset" in home.grader("history", "901").out
    home.attempt.write_text("def batch_mean(x")
    done = home.grader("reset", "901", "batch_mean")
    assert (done.code, "cannot be found" in done.err) == (2, True)
    assert home.attempt.read_text() == "def batch_mean(x"


def test_the_parts_of_one_exercise(checked):
    home, _ = checked
    done = home.grader("status", "901")
    assert "30 of 100 points" in done.out
    assert re.search(r"earned\s+batch_mean\s+30\s+5", done.out)


def test_status_of_a_fresh_house(cli):
    done = cli()
    assert done.code == 0
    assert done.out.startswith("0 of 100 points\nBegin with batch_mean")
    table = cli("status")
    assert table.code == 0
    for words in ("Averages", "Spread", "902 coming", "gap", "elsewhere", "0 of 100 points"):
        assert words in table.out


def test_nothing_in_the_table_is_cut_off(passed):
    done = passed.grader("status")
    assert "100/100" in done.out
    assert "…" not in done.out
    assert "You have earned every exercise of this collection." in done.out


def test_status_as_json(cli):
    table = json.loads(cli("status", "--json").out)
    assert [(row["number"], row["status"]) for row in table["items"]] == [
        ("1", "here"), ("2", "coming"), ("3", "gap"), ("c1", "elsewhere"),
    ]  # fmt: skip
    assert {role["id"]: role["collection"] for role in table["roles"]} == {"ml": 0.25, "llm": 0.2}


def test_status_shows_each_topic_and_its_part(cli):
    done = cli("status", "--topics")
    assert done.code == 0
    for words in (
        r"Mean of a batch +batch_mean *\nmean\.batch *\n",
        r"Mean of a stream +RunningMean",
        r"Median +gap",
        r"Variance +coming",
    ):
        assert re.search(words, done.out)


def test_list_shows_what_there_is_and_what_comes(cli):
    done = cli("list")
    assert ID in done.out
    assert "dl_902_variance" in done.out
    assert "coming" in done.out
    (listed,) = json.loads(cli("list", "--json").out)
    assert (listed["id"], listed["points"], listed["earned"]) == (ID, 100, 0)
    assert [part["name"] for part in listed["parts"]] == ["batch_mean", "RunningMean"]


@pytest.mark.parametrize(
    "command", [["status"], ["list"], ["hint", "901"], ["report"], ["-h"]], ids=lambda command: command[0]
)
def test_what_prints_text_is_light(home, command):
    """Nothing of the judge, of a class, of the page or of a running loop is imported for a few lines of text."""
    heavy = {"torch", "numpy", "pytest", "nbgrader", "jupyter_core", "asyncio", "starlette", "uvicorn", "anyio"}
    heavy |= {"markdown_it", "latex2mathml"}
    code = (
        "import sys\nfrom grader.cli.main import main\n"
        f"try:\n    main({command})\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('heavy:', sorted({heavy} & sys.modules.keys()))"
    )
    done = home.cold("-c", code)
    assert done.code == 0
    assert "heavy: []" in done.out


def test_a_command_that_has_torch_ends_at_once(home):
    """What was to be said is said, and what was registered for the end runs; objects are not taken apart."""
    code = (
        "import atexit, sys, torch\nfrom grader.__main__ import run\n"
        "class Kept:\n    def __del__(self): print('taken apart')\n"
        "kept = Kept()\natexit.register(print, 'at the end')\nsys.argv = ['grader', *sys.argv[1:]]\nrun()"
    )
    done = home.cold("-c", code, "list")
    assert done.code == 0
    assert ID in done.out
    assert done.out.endswith("at the end\n")
    assert home.cold("-c", code, "list", "999").code == 2


def test_what_cannot_be_written_at_the_end_is_an_error(home):
    code = (
        "import os, sys, torch\nimport grader.__main__ as command\n"
        "command.main = lambda: (os.dup2(os.open('/dev/full', os.O_WRONLY), 1), print('held back'), sys.exit(0))\n"
        "command.run()"
    )
    done = home.cold("-c", code)
    assert done.code != 0
    assert "No space left" in done.err


def test_a_progress_file_that_cannot_be_used_hides_no_table(home, cli):
    home.progress.path.parent.mkdir()
    home.progress.path.write_bytes(b"not a database " * 99)
    for command in ("status", "list"):
        done = cli(command)
        assert done.code == 0
        assert "is damaged" in done.err
    for command in (["history", "901"], ["hint", "901"], ["solution", "901"]):
        done = cli(*command)
        assert done.code == 2
        assert "is damaged" in done.err
    assert home.progress.path.read_bytes() == b"not a database " * 99


# ---- hint and solution


def test_hints_come_one_at_a_time_and_are_counted(home, cli):
    said = [cli("hint", "901", "RunningMean").out for _ in range(4)]
    for i, hint in enumerate(home.exercise.part("RunningMean").hints):
        assert hint in said[i]
        assert f"hint {i + 1} of 3" in said[i]
    assert said[3] == said[2]  # after the last, the last again
    assert "grader solution 901 RunningMean --give-up" in said[2]
    assert home.progress.events(ID, "hint", "RunningMean") == 3


def test_a_hint_is_for_the_first_part_not_earned(checked):
    home, _ = checked
    assert "RunningMean · hint 1 of 3" in home.grader("hint", "901").out


def test_a_part_without_hints_says_so(home, cli):
    home.edit(
        f"exercises/{ID}/exercise.toml",
        ('hints = ["What is a mean?", "A sum, and a count.", "x.sum(0) / len(x)"]', "hints = []"),
    )
    done = cli("hint", "901", "batch_mean")
    assert (done.code, done.err) == (2, "grader: dl_901_running_mean has no hints for batch_mean.\n")


def test_the_solution_is_refused_before_it_is_earned(home, cli):
    done = cli("solution", "901")
    assert done.code == 1
    assert "not earned yet: batch_mean, RunningMean" in done.err
    assert "To see it anyway: grader solution 901 --give-up" in done.err
    assert "x.sum(0)" not in done.out + done.err
    assert home.progress.events(ID, "give up", "batch_mean") == 0


def test_giving_up_shows_the_solution_and_is_recorded(home, cli):
    done = cli("solution", "901", "RunningMean", "--give-up")
    assert done.code == 0
    assert "self.count += len(x)" in done.out
    assert "def batch_mean" not in done.out
    assert "SOLUTION" not in done.out
    assert home.progress.events(ID, "give up", "RunningMean") == 1
    assert home.progress.events(ID, "give up", "batch_mean") == 0
    assert home.progress.earned() == {}


def test_an_earned_part_may_be_compared_with_the_reference(checked):
    home, _ = checked
    done = home.grader("solution", "901", "batch_mean")
    assert done.code == 0
    assert "return x.sum(0) / len(x)" in done.out
    assert home.grader("solution", "901").code == 1
    assert home.progress.events(ID, "give up", "batch_mean") == 0


# ---- reset and history


def test_reset_puts_the_stub_back_and_keeps_the_attempt_byte_for_byte(home, cli):
    home.solve(("the mean of nothing", "größer · ✓"))
    mine = home.attempt.read_bytes() + b"\n\n# no end of line"
    home.attempt.write_bytes(mine)
    done = cli("reset", "901")
    assert done.code == 0
    assert "Your attempt is kept: grader history 901" in done.out
    assert home.attempt.read_text() == stub_of(home.exercise)
    assert cli("history", "901", "--show", "1").out.encode() == mine
    assert "reset" in cli("history", "901").out


def test_reset_keeps_windows_line_ends(home, cli):
    mine = home.solution.replace("\n", "\r\n").encode()
    home.attempt.write_bytes(mine)
    assert cli("reset", "901").code == 0
    assert home.grader("history", "901", "--show", "1").out.encode().count(b"\n") == mine.count(b"\n")
    assert home.progress.source(home.progress.history(ID)[0].source).encode() == mine


def test_reset_of_a_stub_does_nothing(home, cli):
    done = cli("reset", "901")
    assert (done.code, done.out) == (0, f"{FILE} is the stub already.\n")
    assert not home.progress.path.exists()


@pytest.mark.parametrize("spoiled", ["file", "progress"])
def test_what_cannot_be_kept_is_not_overwritten(home, cli, spoiled):
    home.solve()
    if spoiled == "file":
        home.attempt.write_bytes(b"x = '\xff'\n")
    else:
        home.progress.path.parent.mkdir()
        home.progress.path.write_bytes(b"not a database " * 99)
    before = home.attempt.read_bytes()
    for args in (["reset", "901"], ["dev", "build"]):
        done = cli(*args)
        assert done.code == 2
        assert FILE in done.err
        assert home.attempt.read_bytes() == before


def test_history_lists_each_attempt_once_and_shows_its_source(home):
    home.solve(WRONG)
    first = home.attempt.read_text()
    home.pytest(f"exercises/{ID}")
    home.pytest(f"exercises/{ID}")
    home.solve()
    home.pytest(f"exercises/{ID}")
    done = home.grader("history", "901")
    rows = [line.split() for line in done.out.splitlines() if re.match(r"\s*\d+(-\d+)? ", line)]
    assert [(row[0], row[4]) for row in rows] == [("1-2", "30/100"), ("3", "100/100")]
    assert home.grader("history", "901", "--show", "1").out == first
    assert home.grader("history", "901", "--show", "3").out == home.attempt.read_text()
    wrong = home.grader("history", "901", "--show", "4")
    assert (wrong.code, "has attempts 1 to 3; there is no 4" in wrong.err) == (2, True)


def test_history_of_nothing(cli):
    assert "No attempt at dl_901_running_mean yet" in cli("history", "901").out


# ---- terminals


@pytest.mark.parametrize(
    "args", [["status"], ["list"], ["hint", "901"], ["solution", "901", "--give-up"], ["check", "901"]]
)
def test_a_terminal_without_unicode_is_no_reason_to_fail(home, args):
    home.edit(
        f"exercises/{ID}/exercise.toml",
        ("What is a mean?", "Σ xᵢ / n?"),
        ('title = "Running', 'title = "Läufer: Running'),
    )
    home.solve(("the mean of nothing", "Σ"), ("return x.sum(0) / len(x)", "raise ValueError('größer')"))
    done = home.cold("-m", "grader", *args, PYTHONIOENCODING="ascii")
    assert done.code in (0, 1)
    assert "Traceback" not in done.said


def test_from_inside_a_folder_of_the_house(home):
    done = home.grader("check", "901", cwd=f"exercises/{ID}")
    assert done.code == 1
    assert "not started" in done.out


UNREADABLE = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a link in a circle": lambda path: path.symlink_to(path),
    "a file of a terabyte": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_in_the_place_of_the_file_is_a_sentence_and_stays(home, what):
    home.attempt.unlink()
    UNREADABLE[what](home.attempt)
    before = home.attempt.lstat()
    for command in (["check", "901"], ["check"], ["reset", "901"], ["reset", "901", "batch_mean"], ["status"]):
        done = home.grader(*command)
        assert "Traceback" not in done.said, (command, done.said)
        assert done.code != 0 or command == ["status"], (command, done.said)
    assert home.attempt.lstat() == before
