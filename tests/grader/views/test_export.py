import csv
import io
import json
import re
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.base.text import defused, plain
from grader.records.results import results_of
from grader.verdicts.result import CheckResult, PartResult, Result
from grader.verdicts.verdict import Verdict
from grader.views.export import as_canvas, as_csv, as_gradescope, as_junit, as_summary, file_name
from grader.views.tables import print_class

ID = "dl_901_running_mean"
HOSTILE = "=cmd()|' /C calc'!A0\n\x00\x1b[2J\x1b]0;own\x07[red]x[/red]<b>&\"]]>\ud800\u202e\ufffe;=1+1"


def result(
    student="ann", exercise=ID, verdicts=(Verdict.PASSED, Verdict.WRONG), message="values differ", of_file=False, **more
):
    """A result of two parts: one of two checks (30 points), one of one check (70)."""
    parts = []
    for name, points, count, verdict in zip(("batch_mean", "RunningMean"), (30, 70), (2, 1), verdicts, strict=True):
        said = "" if verdict is Verdict.PASSED else message
        checks = [
            CheckResult(f"test_{name}[{i}]", name, Verdict.PASSED, "", "It holds.", 0.5) for i in range(count - 1)
        ]
        checks.append(
            CheckResult(f"test_{name}_last", name, verdict, said, "It holds.", 0.5, "printed " + said, of_file=of_file)
        )
        earned = points if verdict is Verdict.PASSED else 0
        parts.append(PartResult(name, points, earned, verdict, said, checks))
    score = sum(part.earned for part in parts)
    return Result(exercise, 1, score, 100, parts, 7, "full", 1.5, source="ab" * 32, student=student, **more)


def rows(text):
    return list(csv.reader(io.StringIO(text), strict=True))


def printable(text, keep=""):
    return all(char.isprintable() or char in keep for char in text)


# ---- text of strangers


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Anna-Lena O'Neill", "Anna-Lena O'Neill"),
        ("Jürgen 李", "Jürgen 李"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x00\x1b[31m\x7f\x9b", "\\x00\\x1b[31m\\x7f\\x9b"),
        ("\u202e\ufeff\ud800", "\\u202e\\ufeff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_plain(text, want):
    assert plain(text) == want


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "|x", "%x", "  =1", "＝1", "＋1", "－1", "＠1"])
def test_a_formula_is_text(text):
    assert defused(text) == f"'{text}"


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1", "\x00=1"])
def test_a_formula_behind_a_control_character_is_text(text):
    assert defused(text)[0] == "\\"


def test_a_formula_behind_a_semicolon_is_text():
    assert defused("a;=1; -2;b") == "a;'=1; '-2;b"


@pytest.mark.parametrize("value", [-3, 2.5, "", "a=b", "1-2", None])
def test_what_is_no_formula_stays(value):
    assert defused(value) == value


@given(st.text())
def test_no_cell_is_a_formula_or_a_command(text):
    cell = defused(text)
    assert printable(cell)
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not re.search(r";\s*[=+\-@]", cell)


# ---- CSV


def test_csv_has_a_row_for_each_part():
    head, first, second = rows(as_csv([result()]))
    assert dict(zip(head, first, strict=True)) == {
        "student": "ann", "exercise": ID, "part": "batch_mean", "points": "30", "earned": "30", "verdict": "passed",
        "message": "", "score": "30", "max_score": "100", "isolation": "full", "seed": "7", "seconds": "1.5",
        "source": "ab" * 32,
    }  # fmt: skip
    assert second[2:7] == ["RunningMean", "70", "0", "wrong", "values differ"]


def test_summary_has_a_row_for_each_result():
    assert rows(as_summary([result(), result("bob")]))[1:] == [
        ["ann", ID, "30", "100", "batch_mean: passed; RunningMean: wrong", "full", "7", ""],
        ["bob", ID, "30", "100", "batch_mean: passed; RunningMean: wrong", "full", "7", ""],
    ]
    broken = result("eve", verdicts=(Verdict.ERROR, Verdict.ERROR), message="nothing was handed in", of_file=True)
    assert rows(as_summary([broken]))[1][-1] == "nothing was handed in"


@pytest.mark.parametrize("view", [as_csv, as_summary, as_canvas])
def test_hostile_text_in_a_table(view):
    got = rows(view([result(student=HOSTILE, exercise=HOSTILE, message=HOSTILE)]))
    assert len({len(row) for row in got}) == 1
    cells = [cell for row in got for cell in row]
    assert all(printable(cell) and cell[:1] not in ("=", "+", "-", "@") for cell in cells)
    assert sum(cell.startswith("'=cmd()") for cell in cells) >= 2


# ---- Canvas


def test_canvas():
    results = [
        result("ann"),
        result("ann", "dl_902_other", (Verdict.PASSED, Verdict.PASSED)),
        result("bob", verdicts=(Verdict.WRONG, Verdict.WRONG)),
    ]
    assert rows(as_canvas(results)) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", ID, "dl_902_other"],
        ["    Points Possible", "", "", "", "", "100", "100"],
        ["ann", "", "", "ann", "", "30", "100"],
        ["bob", "", "", "bob", "", "0", ""],
    ]


@pytest.mark.parametrize("verdict", [Verdict.GRADER_ERROR, Verdict.NOT_RUN])
def test_canvas_charges_nobody_for_the_grader(verdict):
    assert rows(as_canvas([result(verdicts=(Verdict.PASSED, verdict))]))[2][-1] == ""


def test_nobody_changes_the_points_of_a_canvas_assignment():
    """Canvas takes any row with these words in its first cell for the row of points."""
    assert ["Points Possible" in row[0] for row in rows(as_canvas([result("x Points Possible y")]))] == [
        False, True, False,
    ]  # fmt: skip


# ---- Gradescope


def test_gradescope():
    got = json.loads(as_gradescope(result()))
    assert got["score"] == 30
    assert [(test["name"], test["score"], test["max_score"], test["status"]) for test in got["tests"]] == [
        ("batch_mean", 30, 30, "passed"), ("RunningMean", 0, 70, "failed"),
    ]  # fmt: skip
    assert {(test["visibility"], test["output_format"]) for test in got["tests"]} == {("visible", "text")}
    assert got["tests"][1]["output"] == (
        "wrong: 0 of 1 checks pass\n\ntest_RunningMean_last: wrong\nIt holds.\nvalues differ"
    )
    known = {"score", "execution_time", "output", "output_format", "test_output_format", "test_name_format",
             "visibility", "stdout_visibility", "extra_data", "tests", "leaderboard"}  # fmt: skip
    assert got.keys() <= known


def test_hostile_text_in_gradescope():
    text = as_gradescope(result(student=HOSTILE, exercise=HOSTILE, message=HOSTILE))
    assert text.isascii()
    assert "\\u001b" not in text
    got = json.loads(text)
    assert all(printable(test["output"], "\n\t") for test in got["tests"])
    assert got["extra_data"]["student"] == plain(HOSTILE)


# ---- JUnit


def test_junit():
    root = ElementTree.fromstring(as_junit([result(), result("bob", verdicts=(Verdict.PASSED, Verdict.PASSED))]))
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "6", "1", "0")
    ann, bob = root
    assert [suite.get("name") for suite in root] == [f"ann/{ID}", f"bob/{ID}"]
    assert (ann.get("tests"), ann.get("failures"), ann.get("time")) == ("3", "1", "1.500")
    assert (bob.get("failures"), bob.findall(".//failure")) == ("0", [])
    assert {one.get("name"): one.get("value") for one in ann.find("properties")}["score"] == "30"
    cases = ann.findall("testcase")
    assert [(case.get("classname"), case.get("name")) for case in cases] == [
        (f"ann/{ID}/batch_mean", "test_batch_mean[0]"),
        (f"ann/{ID}/batch_mean", "test_batch_mean_last"),
        (f"ann/{ID}/RunningMean", "test_RunningMean_last"),
    ]
    failure = cases[2].find("failure")
    assert (failure.get("type"), failure.get("message")) == ("wrong", "values differ")
    assert failure.text == "It holds.\nvalues differ"
    assert cases[2].find("system-out").text == "printed values differ"


def test_junit_tells_the_graders_fault_from_the_learners():
    suite = ElementTree.fromstring(as_junit([result(verdicts=(Verdict.PASSED, Verdict.GRADER_ERROR))]))[0]
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")


def test_junit_shows_what_did_not_run():
    one = result()
    half = msgspec.structs.replace(one.parts[0], verdict=Verdict.NOT_RUN, message="2 of 3 checks ran", earned=0)
    none = msgspec.structs.replace(one.parts[1], verdict=Verdict.NOT_RUN, message="0 of 1 checks ran", checks=[])
    suite = ElementTree.fromstring(as_junit([msgspec.structs.replace(one, parts=[half, none])]))[0]
    assert [error.get("message") for error in suite.findall(".//error")] == ["2 of 3 checks ran", "0 of 1 checks ran"]
    assert (suite.get("tests"), suite.get("errors")) == ("4", "2")


def test_hostile_text_in_junit():
    text = as_junit([result(student=HOSTILE, exercise=HOSTILE, message=HOSTILE)])
    suite = ElementTree.fromstring(text.encode())[0]
    assert suite.get("name") == plain(f"{HOSTILE}/{HOSTILE}")
    failure = suite.find(".//failure")
    assert failure.text == "It holds.\n" + plain(HOSTILE, keep="\n")
    assert "\x1b" not in text


texts = st.text(max_size=30)
hostile_results = st.builds(
    result, student=texts, exercise=texts, message=texts,
    verdicts=st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(list(Verdict))),
)  # fmt: skip


@given(st.lists(hostile_results, min_size=1, max_size=3))
def test_any_result_makes_files_that_parse(results):
    root = ElementTree.fromstring(as_junit(results).encode())
    assert len(root) == len(results)
    for view in (as_csv, as_summary, as_canvas):
        view(results).encode()
        assert len({len(row) for row in rows(view(results))}) == 1
    for one in results:
        assert json.loads(as_gradescope(one))["score"] == one.score


# ---- names of files


@pytest.mark.parametrize(
    ("student", "want"),
    [
        ("ann", "ann--e.json"),
        ("anna-lena", "anna-lena--e.json"),
        ("../../etc", "%2E.%2F..%2Fetc--e.json"),
        (".hidden", "%2Ehidden--e.json"),
        ("a b", "a%20b--e.json"),
        ("a--b-", "a%2D%2Db%2D--e.json"),
        ("\ud800\0", "%ED%A0%80%00--e.json"),
    ],
)
def test_name_of_a_file(student, want):
    assert file_name(result(student, "e")) == want


@given(texts, texts, texts, texts)
def test_different_results_have_files_of_different_names(a, b, c, d):
    assert ((a, b) == (c, d)) == (file_name(result(a, b)) == file_name(result(c, d)))


def test_a_long_name_stays_a_name():
    names = {file_name(result("李" * 80 + end)) for end in "ab"}
    assert len(names) == 2
    assert all(len(name) < 255 for name in names)


# ---- the class table


def test_no_name_commands_the_terminal(capsys):
    print_class([result(student=HOSTILE, exercise=HOSTILE), result("[bold]bob[/bold]", "[link=x]e[/link]")])
    out = capsys.readouterr().out
    assert printable(out, "\n")
    assert "=cmd()" in out
    assert "[bold]bob" in out
    assert "[link=x]e[/link]" in out


# ---- the command


@pytest.fixture
def graded(tmp_path):
    """A folder of results, as `grader grade` leaves it."""
    folder = tmp_path / "results"
    folder.mkdir()
    old = result(verdicts=(Verdict.WRONG, Verdict.WRONG))
    write(folder, old, result("ann"), result("b/../b"), result("ann", "dl_902_other"))
    return folder


def write(folder, *results):
    lines = [msgspec.json.encode(one) + b"\n" for one in results]
    (folder / "results.jsonl").write_bytes(b"".join(lines))


def test_the_newest_result_counts_and_nothing_is_changed(graded):
    path = graded / "results.jsonl"
    cut = path.read_bytes() + b'{"exercise": "dl_9'  # a batch that runs at this moment
    path.write_bytes(cut)
    assert [(one.student, one.exercise, one.score) for one in results_of(graded)] == [
        ("ann", ID, 30), ("ann", "dl_902_other", 30), ("b/../b", ID, 30),
    ]  # fmt: skip
    assert path.read_bytes() == cut
    assert list(graded.iterdir()) == [path]


@pytest.mark.parametrize(
    ("form", "holds"), [("junit", "<testsuites"), ("csv", "student,exercise,part"), ("canvas", "SIS")]
)
def test_export_to_a_file(cli, graded, tmp_path, form, holds):
    done = cli("export", form, str(graded), "-o", str(tmp_path / "out"))
    assert (done.code, done.err) == (0, "")
    assert holds in (tmp_path / "out").read_text()
    assert "3 results in" in done.out
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "house") == ["out", "results"]


def test_export_a_selection(cli, graded, tmp_path):
    out = tmp_path / "out.csv"
    assert cli("export", "csv", str(graded), "-o", str(out), "--student", "ann", "--exercise", ID).code == 0
    assert {tuple(row[:2]) for row in rows(out.read_text())[1:]} == {("ann", ID)}


def test_gradescope_of_all_goes_to_a_folder(cli, graded, tmp_path):
    out = tmp_path / "new" / "folder"
    assert cli("export", "gradescope", str(graded), "-o", str(out)).code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        f"ann--{ID}.json", "ann--dl_902_other.json", f"b%2F..%2Fb--{ID}.json",
    ]  # fmt: skip
    assert all(json.loads(path.read_text())["score"] == 30 for path in out.iterdir())


def test_gradescope_of_one_goes_to_a_file(cli, graded, tmp_path):
    out = tmp_path / "results.json"
    args = ["export", "gradescope", str(graded), "-o", str(out), "--student", "ann", "--exercise", ID]
    assert cli(*args).code == 0
    assert json.loads(out.read_text())["extra_data"]["student"] == "ann"


def test_gradescope_of_several_into_a_file(cli, graded, tmp_path):
    (tmp_path / "results.json").write_text("{}")
    done = cli("export", "gradescope", str(graded), "-o", str(tmp_path / "results.json"))
    assert (done.code, "3 results do not go into one file" in done.err) == (2, True)
    assert (tmp_path / "results.json").read_text() == "{}"


def test_a_failed_grader_is_said(cli, graded, tmp_path):
    write(graded, result("a\x1bb", verdicts=(Verdict.PASSED, Verdict.GRADER_ERROR)))
    done = cli("export", "canvas", str(graded), "-o", str(tmp_path / "out"))
    assert done.code == 0
    assert f"the grader failed on a\\x1bb/{ID}: grade it again" in done.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["pdf"], "'pdf' is not one of"),
        (["csv", "--student", "amn"], "no result of the student 'amn'. Did you mean 'ann'?"),
        (["csv", "--exercise", "dl_901_running"], f"Did you mean '{ID}'?"),
        (["csv", "--student", "\x1b[2J"], "'\\x1b[2J'"),
    ],
)
def test_wrong_usage(cli, graded, tmp_path, args, says):
    form, *rest = args
    done = cli("export", form, str(graded), "-o", str(tmp_path / "out"), *rest)
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "out").exists()


def test_a_file_to_write_is_asked_for(cli, graded):
    done = cli("export", "csv", str(graded))
    assert (done.code, "--output" in done.err) == (2, True)


@pytest.mark.parametrize("place", [".", "no/such/folder/file.csv", "results"])
def test_where_nothing_can_be_written(cli, home, graded, place):
    (home.root / "results").mkdir()
    done = cli("export", "csv", str(graded), "-o", place)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert re.search("is a folder: name a file|cannot be written: No such file", done.err)


def test_a_link_is_written_through_and_not_replaced(cli, graded, tmp_path):
    """`-o /dev/stdout`, as root, must leave /dev as it is."""
    (tmp_path / "target").write_text("")
    (tmp_path / "link").symlink_to("target")
    assert cli("export", "csv", str(graded), "-o", str(tmp_path / "link")).code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text().startswith("student,")


LINE = msgspec.json.encode(result())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "is missing. `grader grade SUBMITTED --out"),
        (b"", "holds no result"),
        (LINE[:40], "holds no result"),
        (LINE + b"\n{}\n", "line 2 is no result of this grader"),
        (b"\n", "line 1 is no result of this grader"),
        (b"\xff\xfe\n", "line 1 is no result of this grader"),
        (b"[" * 100_000 + b"\n", "line 1 is no result of this grader"),
        (LINE.replace(b'"score":30', b'"score":"30"') + b"\n", "line 1 is no result of this grader"),
        (LINE.replace(b'"wrong"', b'"great"') + b"\n", "line 1 is no result of this grader"),
        (LINE.replace(b'"schema":2', b'"schema":99') + b"\n", "newer grader (schema 99)"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_damaged_file_of_results(cli, tmp_path, data, says):
    assert b'"schema":2' in LINE
    if data is not None:
        (tmp_path / "results.jsonl").write_bytes(data)
    done = cli("export", "csv", str(tmp_path), "-o", str(tmp_path / "out"))
    assert done.code == 2
    assert says in done.err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_place_of_the_results(cli, tmp_path):
    (tmp_path / "results.jsonl").mkdir()
    done = cli("export", "csv", str(tmp_path), "-o", str(tmp_path / "out"))
    assert (done.code, "cannot be read: Is a directory" in done.err) == (2, True)


@given(st.binary(max_size=60), st.integers(0, len(LINE)), st.integers(0, len(LINE)))
def test_any_damage_is_a_sentence(tmp_path_factory, junk, at, to):
    from grader.base.errors import HouseError

    folder = tmp_path_factory.mktemp("damaged")
    (folder / "results.jsonl").write_bytes(LINE + b"\n" + LINE[:at] + junk + LINE[to:] + b"\n")
    try:
        results = results_of(folder)
    except HouseError as error:
        said = str(error)
    else:
        said = "results.jsonl" + as_junit(results)
    assert "results.jsonl" in said


def test_export_needs_no_torch(home, graded):
    code = (
        "import sys; from grader.cli.main import main\n"
        f"main(['export', 'csv', {str(graded)!r}, '-o', 'out.csv'], standalone_mode=False)\n"
        "print(sorted({'torch', 'pytest', 'numpy', 'landlock'} & set(sys.modules)))"
    )
    done = home.cold("-c", code)
    assert done.out.splitlines()[-1] == "[]", done.err
