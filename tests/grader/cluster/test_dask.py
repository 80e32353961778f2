"""A class on a Dask cluster: a real scheduler, real workers, and each of them killed in the middle.

The quick form grades as few as show it. `GRADER_WHOLE_CLUSTER=1 pytest tests/grader/cluster` grades 5,000, and ends
engines again and again.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from dask_site import Site, count, engines, facts, until, worker_process
from shared import PATIENCE

from conftest import HERE, ID
from grader.base.errors import HouseError

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

WHOLE = bool(os.environ.get("GRADER_WHOLE_CLUSTER"))
MANY = 5000 if WHOLE else 120
SUM = ("* len(x) / self.count", "/ 2")
POISON = """
@part("batch_mean")
def test_poison(attempt):
    '''Whoever answers so ends what judges.'''
    import os, signal
    from pathlib import Path

    def parent(pid):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    depth = int(attempt.batch_mean(torch.full((1, 1), 13.0)).item()) - 13
    pid = os.getpid()
    for _ in range(depth):
        pid = parent(pid)
    if depth:
        os.kill(pid, signal.SIGKILL)
        signal.pause()
"""
ENGINE, WORKER = 1, 2


def poison(home, depth):
    """A submission that ends what is so far above its asker."""
    return home.solution.replace("return x.sum(0) / len(x)", f"return x.sum(0) / len(x) + {depth} * (x.sum() == 13)")


def hand_in(home, student, text, name="running_mean.py", submitted="submitted"):
    place = home.root / submitted / student / ID
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text)


@pytest.fixture
def unlike(home):
    """Some of each kind."""
    for number in range(5):
        hand_in(home, f"right{number}", home.solution)
    hand_in(home, "wrong", home.solution.replace(*SUM))
    hand_in(home, "broken", "def batch_mean(")
    hand_in(home, "untouched", home.attempt.read_text())
    hand_in(home, "unreadable", "{", "running_mean.ipynb")
    return home


def test_many_on_two_workers_through_killed_engines_and_workers(unlike, tmp_path):
    """The results are those of one machine, whatever ends meanwhile, and nobody holds the class."""
    home = unlike
    alone = home.grader("grade", "submitted", "--out", "alone", "--seed", "7", "--jobs", "1")
    assert alone.code == 0, alone.said
    few = len(facts(home.root / "alone"))
    for number in range(MANY):
        hand_in(home, f"student{number}", home.solution)
    with Site(home.root, tmp_path / "site") as site:
        site.start_scheduler("--host", "127.0.0.1")
        first, second = site.start_worker(), site.start_worker()
        with site.grading("--seed", "7") as process:
            until(lambda: count(home.root / "results") or process.poll() is not None, "the first results")
            os.kill(engines(first)[0], signal.SIGKILL)
            os.kill(worker_process(second), signal.SIGKILL)
            code = process.wait(PATIENCE)
        said = (tmp_path / "site/grade.log").read_text()
        assert code == 0, said + site.said()
        assert "Workers: " in said
        assert "Isolation: " in said
        until(lambda: not engines(first, second), "no engine outlives who asked")
        kept = facts(home.root / "results")
        assert len(kept) == few + MANY
        assert {name: kept[name] for name in facts(home.root / "alone")} == facts(home.root / "alone")
        assert {line["score"] for name, line in kept.items() if name.startswith("student")} == {100}
        code, said = site.graded("--seed", "7")
        assert (code, f"{few + MANY} of them graded already" in said) == (0, True), said


def test_poison_beside_innocents(home, tmp_path):
    """Who ends a worker, or its engine, is named, and costs nobody else anything."""
    home.check(POISON)
    for number in range(4):
        hand_in(home, f"innocent{number}", home.solution)
    hand_in(home, "innocent1x", poison(home, WORKER))
    if WHOLE:
        hand_in(home, "innocent2x", poison(home, ENGINE))
    with Site(home.root, tmp_path / "site", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as site:
        site.start_scheduler("--host", "127.0.0.1")
        site.start_worker()
        code, said = site.graded("--seed", "7")
    assert code == 1, said + site.said()
    kept = facts(home.root / "results")
    bad = {"innocent1x": "each worker ended that judged this, also alone"}
    bad |= {"innocent2x": "the engine ended each time that this was judged, also alone"} if WHOLE else {}
    for name, line in kept.items():
        parts = {(part["verdict"], part["message"].partition(";")[0]) for part in line["parts"]}
        assert parts == ({("grader error", bad[name])} if name in bad else {("passed", "")}), name
    assert len(kept) == 4 + len(bad)


def test_going_on_after_ctrl_c_and_without_a_scheduler(unlike, tmp_path):
    """What was graded is kept, the engines end, and the same command goes on."""
    home, results = unlike, unlike.root / "results"
    hand_in(home, "slow", home.solution.replace(SUM[0], "while True: pass"))  # so that the end comes in the middle
    with Site(home.root, tmp_path / "site") as site:
        site.start_scheduler("--host", "127.0.0.1")
        worker = site.start_worker()

        with site.grading("--seed", "7") as process:
            until(lambda: count(results) or process.poll() is not None, "the first result")
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(PATIENCE) == 130, (tmp_path / "site/grade.log").read_text() + site.said()
        said = (tmp_path / "site/grade.log").read_text()
        assert "Interrupted. What was graded is kept" in said
        assert "Traceback" not in said
        until(lambda: not engines(worker), "no engine outlives who asked")
        first = count(results)

        with site.grading("--seed", "7") as process:
            until(lambda: engines(worker) or process.poll() is not None, "the engine begins")
            os.kill(site.scheduler.pid, signal.SIGKILL)
            code = process.wait(PATIENCE)
        said = (tmp_path / "site/grade.log").read_text()
        assert code == 1, said
        assert "the scheduler does not answer any more" in said
        assert "What was graded is kept: run the same command to go on." in said
        assert "Traceback" not in said
        worker.wait(PATIENCE)

        second = count(results)
        hand_in(home, "slow", home.solution)
        site.start_scheduler("--host", "127.0.0.1")
        site.start_worker()
        code, said = site.graded("--seed", "7")
    assert code == 0, said + site.said()
    assert 0 < first <= second < count(results)
    assert f"{second} of them graded already" in said
    assert {line["score"] for name, line in facts(results).items() if name.startswith(("right", "slow"))} == {100}


def test_a_worker_of_another_version_is_refused_by_name(home, homes, tmp_path):
    hand_in(home, "ann", home.solution)
    other = homes()
    other.check("# of another version")
    with Site(other.root, tmp_path / "site") as site:
        site.start_scheduler("--host", "127.0.0.1")
        site.start_worker()
        site.root = home.root
        code, said = site.graded("--seed", "7")
    assert code == 2, said
    assert "The worker tcp://127.0.0.1:" in said
    assert f"cannot judge {ID}: 'checks' is " in said
    assert " here, and " in said
    assert "Traceback" not in said
    assert not count(home.root / "results")


def test_a_level_that_a_worker_does_not_give_is_refused(home, tmp_path):
    """`--cluster` wants Landlock at least, whatever --require says: without it a submission has the network."""
    hand_in(home, "ann", home.solution)
    refusing = f"import sys; sys.path.insert(0, {str(HERE)!r}); from shared import os, refuse_namespaces as refuse"
    refusing += "; refuse(); os.execv(sys.argv[1], sys.argv[1:])"
    with Site(home.root, tmp_path / "site") as site:
        site.start_scheduler("--host", "127.0.0.1")
        site.start_worker(before=[sys.executable, "-c", refusing])
        code, said = site.graded("--require", "full")
    assert code == 2, said
    assert "this machine isolates at level 'landlock', but 'full' is required" in said


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("tcp://10.0.0.1:8786", "is not encrypted"),
        ("tcp://localhost.example.org:8786", "is not encrypted"),
        ("ws://127.0.0.1:8786", "write tls://HOST:PORT"),
        ("tls://host:many", "is no address of the scheduler"),
        ("nowhere.json", "is neither an address, such as tls://host:8786, nor a scheduler file"),
        ("list.json", "is no scheduler file"),
        ("lan.json", "is not encrypted"),
    ],
)
def test_addresses_that_are_refused(home, cli, where, says):
    hand_in(home, "ann", home.solution)
    (home.root / "list.json").write_text("[]")
    (home.root / "lan.json").write_text(json.dumps({"address": "tcp://192.168.1.2:8786"}))
    done = cli("grade", "submitted", "--out", "results", "--cluster", where)
    assert (done.code, says in done.err) == (2, True), done.err


def test_a_scheduler_that_is_not_there(home, cli):
    hand_in(home, "ann", home.solution)
    done = cli("grade", "submitted", "--out", "results", "--cluster", "tcp://127.0.0.1:9", "--jobs", "2")
    assert (done.code, "--jobs is for this machine" in done.err) == (2, True)


def keys(folder):
    """Keys and the configuration of Dask, as docs/cluster.md says: the settings that name its folder."""
    page = (HERE.parents[1] / "docs/cluster.md").read_text(encoding="utf-8").split("\n## Dask\n")[1]
    make, *_ = [block for block in re.findall(r"```sh\n(.*?)```", page, re.S) if "openssl" in block]
    (config,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    folder.mkdir()
    subprocess.run(["bash", "-ec", make.replace("/etc/dl-kata", str(folder))], check=True, capture_output=True)
    (folder / "grading.yaml").write_text(config.replace("/etc/dl-kata", str(folder)).replace("60s", "3s"))
    return {"DASK_CONFIG": str(folder)}


@pytest.fixture
def two_networks():
    """Two networks with a link between them, in namespaces that are gone with two processes: prefixes of commands."""
    holders = []
    try:
        for _ in range(2):
            said = ["unshare", "--net", "sh", "-c", "echo there; exec sleep 1000"]
            holders.append(subprocess.Popen(said, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
            if not holders[-1].stdout.readline():
                pytest.skip("this machine grants no network namespaces")
        here, there = (["nsenter", "-t", str(holder.pid), "-n"] for holder in holders)
        link = f"ip link add va type veth peer name vb netns {holders[1].pid}"
        for prefix, lines in ((here, [link]), (here, up("va", 1)), (there, up("vb", 2))):
            made = subprocess.run([*prefix, "sh", "-ec", "\n".join(lines)], capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"this machine makes no networks: {made.stderr}")
        yield here, there
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def up(name, number):
    return [f"ip addr add 10.213.0.{number}/24 dev {name}", f"ip link set {name} up", "ip link set lo up"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes networks")
def test_a_link_that_is_cut_costs_nobody_a_result(unlike, two_networks, tmp_path):
    """What the lost worker was at goes to the other one; all of it is encrypted."""
    home, (here, there) = unlike, two_networks
    for number in range(100 if WHOLE else 30):
        hand_in(home, f"student{number}", home.solution)
    with Site(home.root, tmp_path / "site", before=here, **keys(tmp_path / "keys")) as site:
        site.start_scheduler("--host", "tls://10.213.0.1")
        near, far = site.start_worker(), site.start_worker("--no-nanny", before=there)
        with site.grading("--seed", "7") as process:
            until(lambda: len(engines(near, far)) == 2 or process.poll() is not None, "both have an engine")
            until(lambda: count(home.root / "results") or process.poll() is not None, "the first results")
            subprocess.run([*here, "ip", "link", "set", "va", "down"], check=True)
            code = process.wait(PATIENCE)
        assert code == 0, (tmp_path / "site/grade.log").read_text() + site.said()
    kept = facts(home.root / "results")
    assert len(kept) == 9 + (100 if WHOLE else 30)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_who_has_no_key_is_refused(home, tmp_path):
    hand_in(home, "ann", home.solution)
    with Site(home.root, tmp_path / "site", **keys(tmp_path / "keys")) as site:
        site.start_scheduler("--host", "tls://127.0.0.1")
        site.start_worker()
        assert json.loads(site.file.read_text())["address"].startswith("tls://")
        ours, site.settings = site.settings, keys(tmp_path / "others")
        code, said = site.graded()
        assert (code, "No scheduler answers at tls://127.0.0.1:" in said) == (2, True), said
        site.settings = {}
        code, said = site.graded()
        assert (code, "tls:// needs keys" in said) == (2, True), said
        assert "Traceback" not in said
        site.settings = ours
        code, said = site.graded()
    assert code == 0, said
    assert not facts(home.root / "results")["ann"]["score"] < 100


def test_a_key_that_a_submission_could_read_is_refused():
    from grader.cluster.worker import _need_hidden

    for key in (None, "-----BEGIN PRIVATE KEY-----\n", "/etc/dl-kata/dask.key"):
        _need_hidden(key)
    with pytest.raises(HouseError, match="which the code of a submission can read"):
        _need_hidden(f"{sys.prefix}/etc/dask.key")
