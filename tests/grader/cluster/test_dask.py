"""A class on a Dask cluster: a real scheduler and real workers, each of them killed in the middle.

Where something ends, the engines of the quick form are a stand-in. `GRADER_WHOLE_CLUSTER=1 pytest tests/grader/cluster`
takes the engine itself everywhere, and grades 5,000.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dask_site import Site, count, engines, facts, memory_mb, worker_process
from notebooks import written
from shared import PATIENCE, until

from conftest import HERE, ID, environment
from grader.base.errors import HouseError

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

WHOLE = bool(os.environ.get("GRADER_WHOLE_CLUSTER"))
STAND_IN = "" if WHOLE else str(HERE / "stand_in")
MANY = 5000 if WHOLE else 200
SUM = ("* len(x) / self.count", "/ 2")
WAITS = "\n# waits\n"
"""Of a submission that the stand-in does not judge before the test says so."""
ENDS = {"# ends the engine": 1, "# ends the worker": 2}
"""What a poison says to the stand-in, and how far what it ends is above the process of the check."""
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


def hand_in(home, student, text, name="running_mean.py"):
    place = home.root / "submitted" / student / ID
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text)


def site_of(home, tmp_path, **options):
    return Site(home.root, tmp_path / "site", path=STAND_IN, **options)


def go(home):
    """Let go on what waits."""
    (home.root / "go").touch()


def scores(home):
    return {name: line["score"] for name, line in facts(home.root / "results").items()}


@pytest.fixture
def half_waiting(home):
    """Forty right submissions; the second half is judged when the test says so."""
    for number in range(40):
        hand_in(home, f"student{number:02}", home.solution + WAITS * (number >= 20))
    return home


def test_the_results_of_one_machine(home, tmp_path):
    """Byte for byte, but for the times: of each kind of submission, by the engine itself."""
    for number in range(3):
        hand_in(home, f"right{number}", home.solution)
    hand_in(home, "wrong", home.solution.replace(*SUM))
    hand_in(home, "broken", "def batch_mean(")
    hand_in(home, "untouched", home.attempt.read_text())
    hand_in(home, "unreadable", "{", "running_mean.ipynb")
    alone = home.grader("grade", "submitted", "--out", "alone", "--seed", "7", "--jobs", "1")
    assert alone.code == 0, alone.said
    with Site(home.root, tmp_path / "site") as site:
        site.start_scheduler("--host", "127.0.0.1")
        workers = [site.start_worker() for _ in range(2 if WHOLE else 1)]
        code, said = site.graded("--seed", "7")
        assert code == 0, said + site.said()
        assert "Isolation: " in said
        until(lambda: not engines(*workers), "no engine outlives who asked")
    assert facts(home.root / "results") == facts(home.root / "alone")


def test_a_batch_outlives_an_engine_and_a_worker(half_waiting, tmp_path):
    """Nobody is graded twice, and nobody is left out."""
    home = half_waiting
    with site_of(home, tmp_path) as site:
        site.start_scheduler("--host", "127.0.0.1")
        first, second = site.start_worker(), site.start_worker()
        with site.grading("--seed", "7") as process:
            until(lambda: len(engines(first, second)) == 2 or process.poll() is not None, "both have an engine")
            until(lambda: count(home.root / "results") or process.poll() is not None, "the first results")
            os.kill(engines(first)[0], signal.SIGKILL)
            os.kill(worker_process(second), signal.SIGKILL)
            go(home)
            code = process.wait(PATIENCE)
        said = (tmp_path / "site/grade.log").read_text()
        assert code == 0, said + site.said()
        assert list(scores(home).values()) == [100] * 40
        code, said = site.graded("--seed", "7")
        assert (code, "40 submissions, 40 of them graded already" in said) == (0, True), said


def test_poison_beside_innocents(home, tmp_path):
    """Who ends a worker, or its engine, is named, and costs nobody else anything."""
    home.check(POISON)
    for number in range(4):
        hand_in(home, f"innocent{number}", home.solution)
    for number, (says, depth) in enumerate(ENDS.items()):
        find, put = "return x.sum(0) / len(x)", f"return x.sum(0) / len(x) + {depth} * (x.sum() == 13)  {says}"
        hand_in(home, f"innocent{number}x", home.solution.replace(find, put))
    with site_of(home, tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as site:
        site.start_scheduler("--host", "127.0.0.1")
        site.start_worker("--nthreads", "2")
        code, said = site.graded("--seed", "7")
        assert code == 1, said + site.said()
        kept = facts(home.root / "results")

        hand_in(home, "refused", home.solution + "# is refused\n")
        code, said = site.graded("--seed", "7")
        if not WHOLE:
            assert code == 2, said
            assert re.search(f"The worker tcp://127.0.0.1:[0-9]+ cannot judge {ID}: 'torch' is 1 here, and 2", said)
    bad = {
        "innocent0x": "the engine ended each time that this was judged, also alone",
        "innocent1x": "each worker ended that judged this, also alone",
    }
    for name, line in kept.items():
        parts = {(part["verdict"], part["message"].partition(";")[0]) for part in line["parts"]}
        assert parts == ({("grader error", bad[name])} if name in bad else {("passed", "")}), name
    assert len(kept) == 6


def test_going_on_after_ctrl_c_and_without_a_scheduler(half_waiting, tmp_path):
    """What was graded is kept, the engines end, and the same command goes on."""
    home, results = half_waiting, half_waiting.root / "results"
    with site_of(home, tmp_path) as site:
        site.start_scheduler("--host", "127.0.0.1")
        worker = site.start_worker("--no-nanny")
        kept = [0]
        for end, code, says in (
            (lambda process: os.killpg(process.pid, signal.SIGINT), 130, "Interrupted. What was graded is kept"),
            (lambda process: os.kill(site.scheduler.pid, signal.SIGKILL), 1, "the scheduler does not answer any more"),
        ):
            with site.grading("--seed", "7") as process:
                wanted = kept[-1] or 1  # of the second run nothing may come: all in flight may wait
                until(lambda wanted=wanted: count(results) >= wanted or process.poll() is not None, "results")
                until(lambda: engines(worker) or process.poll() is not None, "an engine")
                end(process)
                ended = process.wait(PATIENCE)
            said = (tmp_path / "site/grade.log").read_text()
            assert (ended, says in said, "Traceback" in said) == (code, True, False), said + site.said()
            until(lambda: not engines(worker), "no engine outlives who asked")
            kept.append(count(results))
        assert 0 < kept[1] <= kept[2] < 40
        go(home)
        site.start_scheduler("--host", "127.0.0.1")
        site.start_worker("--no-nanny")
        code, said = site.graded("--seed", "7")
    assert (code, f"40 submissions, {kept[2]} of them graded already" in said) == (0, True), said
    assert list(scores(home).values()) == [100] * 40


def test_many_in_little_memory(home, tmp_path):
    """Neither who asks nor the scheduler holds the class: what is in flight does not grow with it."""
    for number in range(MANY):
        hand_in(home, f"student{number}", home.solution)
    most = dict.fromkeys(("client", "scheduler"), 0)
    with site_of(home, tmp_path) as site:
        site.start_scheduler("--host", "127.0.0.1")
        site.start_worker()
        if WHOLE:
            site.start_worker()
        with site.grading("--seed", "7") as process:
            until(lambda: count(home.root / "results") or process.poll() is not None, "the first results")
            first = memory_mb(process.pid), memory_mb(site.scheduler.pid)
            while process.poll() is None:
                for name, pid in (("client", process.pid), ("scheduler", site.scheduler.pid)):
                    most[name] = max(most[name], memory_mb(pid))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        said = (tmp_path / "site/grade.log").read_text()
        assert process.returncode == 0, said + site.said()
    assert set(scores(home).values()) == {100}
    assert count(home.root / "results") == MANY
    print(f"{MANY}: client, scheduler at the first results {first} MiB, at most {most}")
    assert most["client"] < first[0] + 60
    assert most["scheduler"] < first[1] + 60


@pytest.mark.skipif(not WHOLE, reason="by hand: the server's own refusals are in test_server.py")
def test_workers_that_are_refused_by_name(home, homes, tmp_path):
    """Another version; a level that is too low."""
    hand_in(home, "ann", home.solution)
    other = homes()
    other.check("# of another version")
    refusing = f"import sys; sys.path.insert(0, {str(HERE)!r}); from shared import os, refuse_namespaces as refuse"
    refusing += "; refuse(); os.execv(sys.argv[1], sys.argv[1:])"
    with Site(home.root, tmp_path / "site") as site:
        site.start_scheduler("--host", "127.0.0.1")
        worker = site.start_worker(cwd=other.root)
        code, said = site.graded()
        assert code == 2, said
        assert re.search(f"The worker tcp://127.0.0.1:[0-9]+ cannot judge {ID}: 'checks' is [0-9a-f]+ here, and", said)
        os.killpg(worker.pid, signal.SIGKILL)
        site.start_worker(before=[sys.executable, "-c", refusing])
        code, said = site.graded("--require", "full")
        assert code == 2, said
        assert "this machine isolates at level 'landlock', but 'full' is required" in said
    assert not count(home.root / "results")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("tcp://10.0.0.1:8786", "is not encrypted"),
        ("tcp://localhost.example.org:8786", "is not encrypted"),
        ("ws://127.0.0.1:8786", "write tls://HOST:PORT"),
        ("tls://host:many", "is no address of the scheduler"),
        ("tls://", "write tls://HOST:PORT"),
        (f"tls://{'a' * 70}:8786", "is no address of the scheduler: no machine can have that name."),
        ("", "and no scheduler file that can be read: Is a directory."),  # "$SCHEDULER", which is not set
        ("nowhere.json", "such as tls://host:8786, and no scheduler file that can be read: No such file"),
        ("list.json", "is no scheduler file"),
        ("lan.json", "is not encrypted"),
        ("tcp://127.0.0.1:9", "No scheduler answers at tcp://127.0.0.1:9: Connection refused."),
    ],
)
def test_addresses_that_are_refused(home, cli, where, says):
    hand_in(home, "ann", home.solution)
    (home.root / "list.json").write_text("[]")
    (home.root / "lan.json").write_text(json.dumps({"address": "tcp://192.168.1.2:8786"}))
    done = cli("grade", "submitted", "--out", "results", "--cluster", where)
    assert (done.code, says in done.err) == (2, True), done.err
    assert not count(home.root / "results"), "nor is anything graded on this machine instead"


def test_jobs_are_the_workers_own(cli):
    done = cli("grade", "submitted", "--out", "results", "--cluster", "tls://host:8786", "--jobs", "2")
    assert (done.code, "--jobs is for this machine" in done.err) == (2, True)


def test_a_cluster_needs_dask(home, cli, monkeypatch):
    hand_in(home, "ann", home.solution)
    monkeypatch.setitem(sys.modules, "grader.cluster.client", None)  # as where it cannot be imported
    done = cli("grade", "submitted", "--out", "results", "--cluster", "tls://host:8786")
    assert (done.code, "--cluster needs Dask: pip install -c constraints.txt -e '.[cluster]'" in done.err) == (2, True)


def test_neither_who_asks_nor_a_worker_imports_torch_or_checks(home):
    code = "import sys, grader.cluster.judging; print({'torch', 'pytest'} & sys.modules.keys())"
    assert home.cold("-c", code).out == "set()\n"


# ---- keys and networks


PAGE = (HERE.parents[1] / "docs/cluster.md").read_text(encoding="utf-8").split("\n## Dask\n")[1].split("\n## ")[0]


def lines(word):
    """The commands of the page that hold a word."""
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) if word in block]
    return block


def keys(folder, lost_after="60s"):
    """Keys and the configuration of Dask, as the page says: the settings that name its folder.

    lost_after: when a worker that is not heard of counts as lost. On a busy machine one is not heard of for seconds.
    """
    make, (config,) = lines("openssl"), re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    folder.mkdir()
    subprocess.run(["bash", "-ec", make.replace("/etc/dl-kata", str(folder))], check=True, capture_output=True)
    (folder / "grading.yaml").write_text(config.replace("/etc/dl-kata", str(folder)).replace("60s", lost_after))
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


NETWORKS = os.getuid() == 0 and all(map(shutil.which, ("unshare", "nsenter", "ip", "openssl")))


@pytest.mark.skipif(not NETWORKS, reason="networks are made by root, with ip, unshare, nsenter; keys with openssl")
def test_a_link_that_is_cut_costs_nobody_a_result(half_waiting, two_networks, tmp_path):
    """What the lost worker was at goes to the other one; all of it is encrypted."""
    home, (here, there) = half_waiting, two_networks
    scheduler, worker = (line.split()[2:] for line in lines("dask scheduler").splitlines())
    assert worker[:5] == ["tls://head.example.org:8786", "--nworkers", "1", "--nthreads", "16"]
    own = ["tls://10.213.0.1:8786", "--nworkers", "1", "--nthreads", "1", *worker[5:], "--no-nanny"]
    with site_of(home, tmp_path, before=here, **keys(tmp_path / "keys", lost_after="10s")) as site:
        first = site.start("scheduler", *scheduler)
        until(lambda: "Scheduler at:" in site.said() or first.poll() is not None, "the scheduler")
        scratch = [["--local-directory", str(tmp_path / name)] for name in ("near", "far")]
        near, far = (site.start("worker", *own, *scratch[i], before=(here, there)[i]) for i in (0, 1))
        site.cluster = "tls://10.213.0.1:8786"
        with site.grading("--seed", "7") as process:
            until(lambda: len(engines(near, far)) == 2 or process.poll() is not None, "both have an engine")
            until(lambda: count(home.root / "results") or process.poll() is not None, "the first results")
            subprocess.run([*here, "ip", "link", "set", "va", "down"], check=True)
            go(home)
            code = process.wait(PATIENCE)
        assert code == 0, (tmp_path / "site/grade.log").read_text() + site.said()
    assert list(scores(home).values()) == [100] * 40


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_nbgrader_through_a_cluster_with_keys_and_nobody_without(home, tmp_path):
    """`nbgrader autograde` gives the marks that it gives on one machine; who has no key, or another, is refused."""
    pytest.importorskip("nbgrader")
    from nbgrader.api import Gradebook

    hand_in(home, "ann", home.solution)
    with site_of(home, tmp_path, **keys(tmp_path / "keys")) as site:
        site.start_scheduler("--host", "tls://127.0.0.1")
        worker = site.start_worker("--no-nanny")
        address = json.loads(site.file.read_text())["address"]
        ours, site.settings = site.settings, keys(tmp_path / "others")
        code, said = site.graded()
        assert (code, f"No scheduler answers at {address}:" in said) == (2, True), said
        site.settings = {}
        code, said = site.graded()
        assert (code, "tls:// needs keys" in said, "Traceback" in said) == (2, True, False), said

        course = tmp_path / "course"
        released = course_of(home, course, f"c.GradeParts.cluster = {address!r}\n")
        for student, text in (("right", home.solution), ("wrong", home.solution.replace(*SUM))):
            place = course / "submitted" / student / ID
            place.mkdir(parents=True)
            (place / "running_mean.ipynb").write_text(json.dumps(written(released, home.exercise, text)))
        run("nbgrader", "autograde", ID, cwd=course, **ours)
        until(lambda: not engines(worker), "no engine outlives who asked")
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        assert [book.find_submission(ID, student).score for student in ("right", "wrong")] == [100.0, 30.0]


def run(*args, cwd, **settings):
    given = environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", **settings)
    command = [sys.executable, "-m", *args]
    done = subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


def course_of(home, course, config):
    """A course with one assignment; the notebook that students get."""
    run("grader", "course", str(course), cwd=home.root)
    with (course / "nbgrader_config.py").open("a") as file:
        file.write(config)
    run("nbgrader", "generate_assignment", ID, cwd=course)
    return json.loads((course / "release" / ID / "running_mean.ipynb").read_text())


def test_a_key_that_a_submission_could_read_is_refused():
    from grader.cluster.worker import _need_hidden

    for key in (None, "-----BEGIN PRIVATE KEY-----\n", "/etc/dl-kata/dask.key"):
        _need_hidden(key)
    with pytest.raises(HouseError, match="which the code of a submission can read"):
        _need_hidden(f"{sys.prefix}/etc/dask.key")
