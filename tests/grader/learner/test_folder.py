"""A practice folder: made once, brought up to date again and again, and nothing that its owner wrote is ever lost."""

import json
import shutil

import pytest
from click.testing import CliRunner

from conftest import ID
from grader.bank import places
from grader.bank.catalog import House, find_house
from grader.bank.derived import stub_of
from grader.base.errors import HouseError
from grader.base.files import digest
from grader.cli.main import main
from grader.judging.collect import _need_attempt
from grader.learner import desk, folder
from grader.learner.debrief import debriefed
from grader.learner.folder import HandedOut
from grader.records.interviews import Coding, Interview
from grader.records.progress import Progress

STUB = f"exercises/{ID}/running_mean.py"
README = f"exercises/{ID}/README.md"
EXAMPLES = f"exercises/{ID}/test_examples.py"
MINE = "def batch_mean(x):\n    return x.mean(0)  # mine\n"


@pytest.fixture
def bank(built, tmp_path, monkeypatch):
    """What is installed: a house that the test may change."""
    root = tmp_path / "installed"
    shutil.copytree(built, root)
    monkeypatch.setattr(places, "ABOVE", root)
    return root


@pytest.fixture
def practice(bank, tmp_path, monkeypatch):
    house = folder.init(tmp_path / "my-katas")
    monkeypatch.chdir(house.root)
    return house


def run(*args):
    done = CliRunner().invoke(main, args)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def raise_revision(bank):
    """A new revision, with another stub and another statement."""
    facts, solution = (
        bank / "exercises" / ID / "exercise.toml",
        bank / "solutions" / ID / "running_mean.py",
    )
    facts.write_text(facts.read_text().replace("revision = 1", "revision = 2"))
    solution.write_text(solution.read_text() + "\n\n# The end.\n")
    statement = bank / README
    statement.write_text(statement.read_text() + "\nSince revision 2.\n")


def updated(house):
    """What `update` does, file to what, with all facts read anew."""
    return {one.path: one.done for one in folder.update(House(house.root))}


def test_it_holds_the_stub_and_what_a_learner_reads_and_nothing_else(practice, bank):
    root = practice.root
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    given = [f"exercises/{ID}/{name}" for name in ("README.md", "figure.svg", "test_examples.py")]
    there = [path for path in given if (bank / path).exists()]
    assert files == sorted(["conftest.py", "pyproject.toml", places.HANDED_OUT, STUB, *there])
    assert (root / STUB).read_text() == stub_of(practice.exercises[ID])
    assert (root / README).read_bytes() == (bank / README).read_bytes()
    house = find_house(root / "exercises" / ID)
    assert (house.root, house.bank, house.is_whole) == (root, bank, True)


def test_a_folder_that_has_something_is_left_as_it_is(bank, tmp_path):
    place = tmp_path / "notes"
    place.mkdir()
    (place / "mine").write_text("text")
    code, said = run("init", str(place))
    assert (code, said) == (2, f"grader: {place} is not empty: name a new folder.\n")
    assert [path.name for path in place.iterdir()] == ["mine"]


def test_an_empty_folder_is_taken(bank, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run("init", ".")[0] == 0
    assert (tmp_path / "empty" / STUB).is_file()


def test_it_is_made_once(practice):
    (practice.root / STUB).write_text(MINE)
    code, said = run("init", str(practice.root))
    assert code == 2
    assert "is a practice folder already: `grader update` in it brings what is new." in said
    assert (practice.root / STUB).read_text() == MINE


@pytest.mark.parametrize("where", ["clone", "practice folder"])
def test_none_is_made_inside_of_another(practice, bank, where):
    above = bank if where == "clone" else practice.root
    code, said = run("init", str(above / "exercises" / "deep" / "er"))
    assert code == 2
    assert f"lies in {above}, which has exercises of its own. Name a folder outside of it." in said
    assert not (above / "exercises" / "deep").exists()


def test_where_nothing_can_be_written_the_reason_is_said(bank, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert run("init", str(tmp_path / "file")) == (2, f"grader: {tmp_path / 'file'} is a file: name a new folder.\n")
    code, said = run("init", str(tmp_path / "file" / "below"))
    assert (code, said) == (2, f"grader: {tmp_path / 'file' / 'below' / 'exercises'} cannot be written: Not a "
                               "directory.\n")  # fmt: skip

    def closed(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folder, "replace_file", closed)
    code, said = run("init", str(tmp_path / "closed"))
    assert code == 2
    assert said.endswith("handed_out.json cannot be written: Permission denied.\n")


def test_without_exercises_the_reason_is_said(practice, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ABOVE", tmp_path / "nothing")
    assert run("init", str(tmp_path / "new"))[0] == 2
    code, said = run("list")
    assert code == 2
    assert "is a practice folder, but no exercises are installed" in said


def test_an_interrupted_init_is_finished_by_update(bank, tmp_path, monkeypatch):
    real, left = folder.replace_file, [4]

    def full(path, data, *more):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, "No space left on device", str(path))
        return real(path, data, *more)

    monkeypatch.setattr(folder, "replace_file", full)
    with pytest.raises(HouseError, match=r"No space left on device.*run `grader update` again"):
        folder.init(tmp_path / "my-katas")
    monkeypatch.setattr(folder, "replace_file", real)
    done = updated(House(tmp_path / "my-katas"))
    assert set(done.values()) == {"written"}
    assert (tmp_path / "my-katas" / STUB).is_file()


def test_where_nothing_is_new_nothing_is_done(practice):
    (practice.root / STUB).write_text(MINE)
    (practice.root / README).write_text("my notes")
    assert run("update") == (0, f"All is as in dl-kata {folder.__version__}.\n")
    assert (practice.root / STUB).read_text() == MINE
    assert (practice.root / README).read_text() == "my notes"


def test_a_new_revision_replaces_what_nobody_changed(practice, bank):
    raise_revision(bank)
    assert run("update") == (0, f"{ID}: revision 2\n")
    assert (practice.root / STUB).read_text().endswith("# The end.\n")
    assert "Since revision 2." in (practice.root / README).read_text()
    assert updated(practice) == {}


def test_a_learners_text_stays_and_the_new_stub_is_one_reset_away(practice, bank):
    (practice.root / STUB).write_text(MINE)
    raise_revision(bank)
    code, said = run("update")
    assert code == 0
    assert said.startswith(f"{ID}: revision 2 has a new stub. Your file stays as it is")
    assert "`grader reset 901` writes the new stub" in said
    assert (practice.root / STUB).read_text() == MINE
    assert updated(practice) == {}
    assert run("reset", "901")[0] == 0
    assert (practice.root / STUB).read_text().endswith("# The end.\n")
    house = House(practice.root)
    assert desk.attempt_text(house, house.exercises[ID], 1) == MINE


def test_what_is_said_fits_the_terminal_and_no_command_is_broken(practice, bank, monkeypatch):
    monkeypatch.setattr("grader.cli.talk.terminal_columns", lambda: 60)
    (practice.root / STUB).write_text(MINE)
    raise_revision(bank)
    for said in (run()[1], run("update")[1]):
        assert max(map(len, said.splitlines())) <= 60
    assert "`grader reset 901` writes the new stub; `grader history 901`" in " ".join(said.split())
    assert "`grader reset 901`" in said
    assert "`grader history 901`" in said


def test_the_folder_is_named_as_a_shell_takes_it(bank, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("init", "my katas")[1]
    assert said.startswith("my katas holds 1 exercise. Next:\n  cd 'my katas'\n")


def test_notes_in_a_statement_move_aside_for_the_new_one(practice, bank):
    (practice.root / README).write_text("my notes")
    (practice.root / f"{README}.1.kept").write_text("older notes")
    raise_revision(bank)
    assert f"  {README} was changed by you: yours is now\n  {README}.2.kept" in run("update")[1]
    assert (practice.root / f"{README}.1.kept").read_text() == "older notes"
    assert (practice.root / f"{README}.2.kept").read_text() == "my notes"
    assert "Since revision 2." in (practice.root / README).read_text()


def test_a_report_names_the_section_though_the_learners_copy_is_gone(practice):
    (practice.root / README).unlink()
    told = Interview("ml", 20, "2026-11-30T12:00:00+00:00", 1, coding=Coding(ID, "batch_mean", 10, 600.0))
    first = debriefed(practice, told, "left").reading[0]
    assert (first.path, first.section) == (README, "Parts")


def test_settings_of_ones_own_stay(practice, monkeypatch):
    (practice.root / "pyproject.toml").write_text("[tool.mine]\n")
    monkeypatch.setattr(folder, "_PROJECT", "# Another form.\n")
    assert run("update")[1] == "pyproject.toml: it has a new form, but you changed yours, which stays\n"
    assert (practice.root / "pyproject.toml").read_text() == "[tool.mine]\n"


def test_what_was_deleted_comes_back(practice):
    shutil.rmtree(practice.root / "exercises" / ID)
    assert run("check") == (1, "Not begun: 1 of 1 exercises (grader list names them)\n")
    assert run("update")[1] == f"{ID}: new\n"
    assert (practice.root / STUB).is_file()


def test_the_desk_says_that_something_new_is_installed(practice, bank):
    assert "grader update" not in run()[1]
    raise_revision(bank)
    assert "grader update" in run()[1]
    run("update")
    assert "grader update" not in run()[1]


def test_a_damaged_account_is_no_reason_to_lose_anything(practice, bank):
    (practice.root / STUB).write_text(MINE)
    (practice.root / README).write_text("my notes")
    (practice.root / places.HANDED_OUT).write_text("{")
    code, said = run("update")
    assert code == 2
    assert "is damaged" in said
    (practice.root / places.HANDED_OUT).write_text("{}")
    run("update")
    assert (practice.root / STUB).read_text() == MINE
    assert (practice.root / f"{README}.1.kept").read_text() == "my notes"


def test_the_account_names_each_file_by_its_hash(practice):
    known = json.loads((practice.root / places.HANDED_OUT).read_text())
    assert known["revisions"] == {ID: 1}
    assert known["files"][STUB] == digest(stub_of(practice.exercises[ID]))
    assert set(known) == set(HandedOut.__struct_fields__)


def test_a_clone_is_brought_up_to_date_by_git(bank, monkeypatch):
    monkeypatch.chdir(bank)
    code, said = run("update")
    assert code == 2
    assert "is no practice folder: `git pull` brings what is new to a clone" in said


def test_exercises_are_written_elsewhere(practice):
    for command in (["dev", "build"], ["dev", "new", "dl_902_x"], ["dev", "audit"]):
        assert run(*command) == (
            2,
            "grader: Exercises are written in a clone of the repository: an author's command.\n",
        )


def test_attempts_and_what_they_earned_are_the_folders_own(practice, bank):
    exercise = practice.exercises[ID]
    Progress(practice.root).note(ID, "reset", text=MINE)
    raise_revision(bank)
    run("update")
    assert desk.attempt_text(House(practice.root), exercise, 1) == MINE
    assert not (bank / ".grader").exists()


def test_a_student_editions_folder_has_its_examples(practice, bank):
    for tree in ("solutions", "tests"):
        if tree == "solutions":
            (bank / "stubs").mkdir()
            shutil.copytree(practice.root / "exercises" / ID, bank / "stubs" / ID)
        shutil.rmtree(bank / tree)
    house = House(practice.root)
    assert not house.is_whole
    assert updated(house) == {}
    assert "Student edition: the visible examples of 0 of 2 parts pass." in run()[1]


def test_outside_of_it_the_installed_exercises_are_not_written_to(bank, tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    shutil.copytree(bank, site / "dl_kata")
    monkeypatch.setattr(places, "ABOVE", site)
    monkeypatch.setattr("grader.bank.catalog.ABOVE", site)
    monkeypatch.chdir(tmp_path)
    code, said = run("list")
    assert code == 2
    assert "is not inside a practice folder. `grader init my-katas` makes one: go there." in said
    assert run("reset", "901")[0] == 2
    assert run("init", "my-katas")[0] == 0
    assert find_house(tmp_path / "my-katas").bank == site / "dl_kata"


def test_an_exercise_that_is_not_installed_any_more_is_named(practice, bank):
    (practice.root / "exercises" / "dl_902_gone").mkdir()
    with pytest.raises(pytest.UsageError, match="dl_902_gone is not among the installed exercises"):
        _need_attempt(practice.root / "exercises" / "dl_902_gone")
