"""Hostile submissions: each wins against a naive judge, and none in the engine.

A file of attacks/ is a submission to dl_901_running_mean whose leading comment is TOML:

    family      one of FAMILIES
    mechanism   what it does, in a sentence that no other attack has
    naive       "wins": against naive.py it gets marks that it did not earn, or harms the marks of the next
                submissions, changes the house, leaves something behind, or never returns; or "never"
    why_never   why not
    [required]  part to the verdict that the engine must give, or a list where several are right
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
import world
from shared import PATIENCE, in_reach

from conftest import HERE, environment
from grader.verdicts.verdict import Verdict

FAMILIES = [
    "answers", "exit", "files", "forging", "lying", "overfitting", "reaching", "resources", "state",
    "tampering",
]  # fmt: skip
PARTS = {"batch_mean": 30, "RunningMean": 70}
ATTACKS = sorted((HERE / "attacks").glob("*.py"))
RIGHT = "right"
ENGINE_SECONDS = 2 * PATIENCE
TRIES_ALONE = 2

needs_worlds = pytest.mark.skipif(not world.available(), reason="no namespaces: hostile code would harm this machine")


def header(path):
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:].removeprefix(" "))
    return tomllib.loads("\n".join(lines))


def allowed(path, part):
    required = header(path)["required"][part]
    return [required] if isinstance(required, str) else required


def deserved(path):
    """The most marks that an attack may get: of parts that it solves beside what else it does."""
    return sum(points for part, points in PARTS.items() if "passed" in allowed(path, part))


def solution():
    return (HERE / "house/solutions/dl_901_running_mean/running_mean.py").read_text()


def wrong():
    """A mean of batch means: earns batch_mean only."""
    text = solution()
    assert text.count("* len(x) / self.count") == 1
    return text.replace("* len(x) / self.count", "/ 2")


# The form of the suite


def test_attacks_are_many_and_of_every_family():
    assert len(ATTACKS) >= 60
    assert sorted({header(path)["family"] for path in ATTACKS}) == FAMILIES


def test_no_two_attacks_do_the_same():
    mechanisms = [header(path)["mechanism"] for path in ATTACKS]
    assert sorted(set(mechanisms)) == sorted(mechanisms)


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_header(path):
    facts = header(path)
    assert path.stem.startswith(facts["family"] + "_")
    assert facts["naive"] in ("wins", "never")
    assert set(facts) == {"family", "mechanism", "naive", "required", *["why_never"][: facts["naive"] == "never"]}
    assert list(facts["required"]) == list(PARTS)
    for part in PARTS:
        assert set(allowed(path, part)) <= set(Verdict) - {Verdict.GRADER_ERROR, Verdict.NOT_RUN}
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


def leftovers(seen):
    """What was left in a world, by kind, without the folders that belong there."""
    ours = {"/tmp/house", "/tmp/results"}
    # Torch makes an empty folder when its compiler is imported, whoever does it.
    left = {
        kind: [thing for thing in things if thing not in ours and not thing.startswith("/tmp/torchinductor_")]
        for kind, things in (seen["left"] or {}).items()
    }
    return {kind: things for kind, things in left.items() if things}


# Against the naive judge


def job(built, name, texts, **more):
    return json.dumps({"name": name, "house": world.files(built), "texts": texts, **more})


class Naive:
    """Runs of naive.py, read as they end."""

    def __init__(self, built, paths):
        self.built, self.seen = built, {}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "naive.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"), start_new_session=True,
        )  # fmt: skip
        others = {"right": solution(), "wrong": wrong()}
        jobs = [job(built, RIGHT, {"attack": solution(), **others}, patient=True)]
        for path in paths:
            patient = header(path)["naive"] == "never"  # the others may win by never coming to an end
            jobs.append(job(built, path.stem, {"attack": path.read_text(), **others}, patient=patient))
        self.process.stdin.write("\n".join(jobs) + "\n")
        self.process.stdin.close()

    def of(self, name):
        while name not in self.seen:
            line = self.process.stdout.readline()
            assert line, f"naive.py ended without a word on {name}"
            seen = json.loads(line)
            self.seen[seen["name"]] = seen
        return self.seen[name]

    def alone(self, path):
        """What comes of one attack with no other beside it: who has all processes of the machine disarms the next."""
        alone = Naive(self.built, [path])
        try:
            return alone.of(path.stem)
        finally:
            alone.end()

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def naive(built, request):
    chosen = {item.callspec.params["path"] for item in request.session.items if item.name.startswith("test_naive")
              and hasattr(item, "callspec")}  # fmt: skip
    naive = Naive(built, sorted(chosen))
    yield naive
    naive.end()


def harm(seen, most):
    """What went wrong for a naive judge; empty if nothing did. most: marks that the first submission earned."""
    said = seen["said"]
    if said is None:
        return "it never returned" if seen["left"] is None else "the judge is gone"
    if seen["left"] is None:
        return "the judge had its marks, and never came to rest"
    marks = said["marks"]
    if (marks.get("attack") or 0) > most:
        return f"{marks['attack']} marks, earned {most}"
    if (marks.get("right"), marks.get("wrong")) != (100, PARTS["batch_mean"]):
        return f"the others got {marks}"
    if said["changed"]:
        return f"changed {said['changed']}"
    left = leftovers(seen)  # the judge itself leaves no process behind
    return ", ".join(f"left {kind} {things}" for kind, things in left.items())


@needs_worlds
def test_naive_judge_is_fair_where_nobody_attacks(naive):
    seen = naive.of(RIGHT)
    assert seen["said"]["marks"] == {"attack": 100, "right": 100, "wrong": 30}
    assert harm(seen, 100) == ""


@needs_worlds
@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_naive_judge_is_beaten_as_the_header_says(naive, path):
    wins = header(path)["naive"] == "wins"
    seen = naive.of(path.stem)
    for _ in range(TRIES_ALONE):
        if bool(harm(seen, deserved(path))) == wins:
            break
        seen = naive.alone(path)
    assert bool(harm(seen, deserved(path))) == wins, seen


# Against the engine


def begun(built, paths, way, folder=None):
    """gauntlet.py at work on these attacks. folder: for the mounts that put the interpreter in a user's reach."""
    texts = {}
    for path in paths:
        texts[path.stem] = path.read_text(encoding="utf-8")
        texts[f"right after {path.stem}"] = solution()
        texts[f"wrong after {path.stem}"] = wrong()
    command = [sys.executable, str(HERE / "gauntlet.py")]
    process = subprocess.Popen(
        in_reach(command, folder) if folder else command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment(), start_new_session=True,
    )  # fmt: skip
    process.stdin.write(job(built, "engine", texts, seconds=ENGINE_SECONDS, way=way))
    process.stdin.close()
    return process


@pytest.fixture(scope="module", autouse=True)
def engine(built):
    """The engine's run, begun before any test here: it goes on beside the naive ones."""
    process = begun(built, ATTACKS, ["root", "full"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def graded(engine):
    """What gauntlet.py says."""
    seen = json.loads(engine.stdout.read())
    assert seen["said"], "the engine did not end"
    return seen


@pytest.fixture(scope="module")
def results(graded):
    """Student to result."""
    return {line["student"]: line for line in graded["said"]["lines"]}


def verdicts(result):
    return {part["name"]: part["verdict"] for part in result["parts"]}


@needs_worlds
@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_engine_gives_the_required_verdicts_and_no_point_more(results, path):
    result = results[path.stem]
    for part in result["parts"]:
        said = f"{part['name']}: {part['message']}"
        assert part["verdict"] in allowed(path, part["name"]), said
        assert part["earned"] == (PARTS[part["name"]] if part["verdict"] == "passed" else 0), said
    assert result["score"] == sum(part["earned"] for part in result["parts"])
    assert result["score"] <= deserved(path)


@needs_worlds
@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_engine_grades_the_next_submissions_as_ever(results, path):
    right, bad = results[f"right after {path.stem}"], results[f"wrong after {path.stem}"]
    assert (right["score"], verdicts(right)) == (100, {"batch_mean": "passed", "RunningMean": "passed"})
    assert (bad["score"], verdicts(bad)) == (30, {"batch_mean": "passed", "RunningMean": "wrong"})


@needs_worlds
def test_engine_leaves_nothing_behind(graded):
    assert graded["said"]["survivors"] == []
    assert not graded["said"]["changed"]
    assert graded["left"] is not None, "the world was ended before it could be looked at"
    assert leftovers(graded) == {}


@needs_worlds
def test_engine_lets_nothing_outside_be_touched(graded):
    assert graded["said"]["touched"] == []


@needs_worlds
def test_results_are_whole(graded):
    said = graded["said"]
    assert [line["student"] for line in said["lines"]] == said["kept"]
    assert len(said["kept"]) == len(set(said["kept"])) == 3 * len(ATTACKS)
    assert said["beside"] == []
    assert {line["isolation"] for line in said["lines"]} == {said["level"]}


# Where nothing but the list of calls stands between the code and the grader

OUTWARD = [
    path
    for path in ATTACKS
    if path.stem.startswith(("reaching_", "forging_no_loopback", "exit_kill_", "resources_disk", "resources_files"))
    or path.stem in ("resources_name_no_text", "resources_memory_misnamed", "resources_memory_in_sockets")
]


@pytest.fixture(scope="module", params=["root landlock", "user landlock", "user full"])
def outward(request, built):
    """What gauntlet.py says of the attacks that reach out, in another way of running the grader."""
    who, level = request.param.split()
    if os.getuid() != 0:
        pytest.skip("only root can be both")
    with tempfile.TemporaryDirectory(prefix="attacks-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        process = begun(built, OUTWARD, [who, level], folder)
        try:
            seen = json.loads(process.stdout.read())
        finally:
            process.kill()
            process.wait()
    assert seen["said"], "the grader was ended"
    return {**seen, "level": level}


@needs_worlds
def test_no_way_out_is_open_at_any_level_to_anybody(outward):
    said = outward["said"]
    assert said["level"] == outward["level"]
    assert said["touched"] == said["survivors"] == []
    assert not said["changed"]
    results = {line["student"]: line for line in said["lines"]}
    assert len(results) == 3 * len(OUTWARD)
    for path in OUTWARD:
        for part in results[path.stem]["parts"]:
            assert part["verdict"] in allowed(path, part["name"]), (path.stem, part)
        scores = [results[f"{other} after {path.stem}"]["score"] for other in ("right", "wrong")]
        assert scores == [100, PARTS["batch_mean"]], path.stem
