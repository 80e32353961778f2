"""What code in the cage can reach: as root and as an ordinary user, with namespaces and where they are refused.

Run as a script this file is the grader's side: it plants secrets, starts the engine, asks from within the cage for all
of them, and prints what was obtained.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from shared import NOBODY, REPOSITORY, WAYS, grants_namespaces, in_reach, once, refuse_namespaces, said

HERE = Path(__file__).resolve().parents[1]
ID = "dl_901_running_mean"
SECRET = "9f1c-a-secret-that-no-learner-knows"

# The learner's file. Whatever it asks for it asks through the system, so that no check of Python's own is in the way.
INSIDE = r'''
import ctypes
import os
import socket
import subprocess
import sys
import tempfile


def attempted(action):
    """What an action gives, or the error that refuses it."""
    try:
        return action()
    except BaseException as error:
        return f"refused: {type(error).__name__}"


def read(paths):
    found = {}
    for path in paths:
        found[path] = attempted(lambda: open(path, "rb").read(200).decode(errors="replace"))
    return found


def listed(paths):
    return {path: attempted(lambda: sorted(os.listdir(path))) for path in paths}


def linked(paths):
    """Read through links of one's own, and through a way up."""
    found = {}
    for i, path in enumerate(paths):
        for kind in (os.symlink, os.link):
            name = f"{kind.__name__}{i}"
            attempted(lambda: kind(path, name))
            found[f"{kind.__name__} {path}"] = attempted(lambda: open(name).read(200))
        up = "../" * 20 + path.lstrip("/")
        found[f"up {path}"] = attempted(lambda: open(up).read(200))
        root = f"/proc/self/root{path}"
        found[f"root {path}"] = attempted(lambda: open(root).read(200))
    return found


def written(paths):
    """Which of these folders take a file, or of these files a byte."""
    taken = []
    for path in paths:
        target = os.path.join(path, "mine") if os.path.isdir(path) else path
        for flags in (os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_APPEND):
            try:
                descriptor = os.open(target, flags, 0o600)
                os.write(descriptor, b"mine")
                os.close(descriptor)
                taken.append(path)
            except OSError:
                pass
        for change in (os.unlink, lambda p: os.chmod(p, 0o777), lambda p: os.utime(p), lambda p: os.truncate(p, 0)):
            if path.startswith("/dev/"):
                continue
            try:
                change(path)
                taken.append(path)
            except OSError:
                pass
    return sorted(set(taken))


def folder():
    return {"cwd": os.getcwd(), "temporary": tempfile.gettempdir(), "holds": os.listdir("."),
            "mine": attempted(lambda: open("own", "w").write("text")), "home": os.path.expanduser("~")}


def environment():
    return {"own": dict(os.environ), "initial": attempted(lambda: open("/proc/self/environ").read())}


def processes(pids):
    """Everything that can be learnt of other processes. pids: outside."""
    seen = {}
    for name in sorted(filter(str.isdigit, attempted(lambda: os.listdir("/proc"))), key=int):
        seen[name] = attempted(lambda: open(f"/proc/{name}/cmdline").read().replace("\0", " "))
    deep = {}
    for pid in [os.getppid(), *pids]:
        for what in ("environ", "mem", "maps", "cwd", "root", "exe", "fd/0", "fd/3"):
            path = f"/proc/{pid}/{what}"
            if what in ("environ", "maps"):
                deep[f"{pid} {what}"] = attempted(lambda: open(path).read(40))
            elif what == "mem":
                deep[f"{pid} {what}"] = attempted(lambda: str(open(path, "r+b")))
            else:
                deep[f"{pid} {what}"] = attempted(lambda: os.readlink(path))
    libc = ctypes.CDLL(None, use_errno=True)
    touched = {}
    for pid in [*pids, -1]:
        touched[f"kill {pid}"] = attempted(lambda: os.kill(pid, 0))
    for pid in pids:
        touched[f"ptrace {pid}"] = libc.ptrace(16, pid, 0, 0)
        touched[f"open {pid}"] = attempted(lambda: os.pidfd_open(pid))
        touched[f"priority {pid}"] = attempted(lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    return {"seen": seen, "deep": deep, "touched": touched}


def network(addresses, port, abstract, path):
    """Which of these can be reached."""
    reached = {}

    def stream(family, address):
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(3)
            sock.connect(address)
            return "connected"

    def datagram(address):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return sock.sendto(b"out", address)

    for address in addresses:
        reached[f"tcp {address}"] = attempted(lambda: stream(socket.AF_INET, (address, port)))
        if address != "127.0.0.1":  # a datagram to one's own loopback leaves, and arrives nowhere
            reached[f"udp {address}"] = attempted(lambda: datagram((address, port)))
    reached["abstract"] = attempted(lambda: stream(socket.AF_UNIX, "\0" + abstract))
    reached["path"] = attempted(lambda: stream(socket.AF_UNIX, path))
    reached["raw"] = attempted(lambda: str(socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
    reached["packet"] = attempted(lambda: str(socket.socket(17, socket.SOCK_RAW)))
    reached["vsock"] = attempted(lambda: str(socket.socket(40, socket.SOCK_STREAM)))
    return reached


def loopback():
    """A server and a client of one's own."""
    def talk():
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.send(b"hello")
            return server.accept()[0].recv(5).decode()

    return attempted(talk)


def interfaces():
    return attempted(lambda: sorted(name for _, name in socket.if_nameindex()))


def privileges():
    """What this process may do, and whether it can get more."""
    status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    libc = ctypes.CDLL(None, use_errno=True)
    more = {
        "setuid": attempted(lambda: os.setuid(0)),
        "setgroups": attempted(lambda: os.setgroups([0])),
        "user namespace": libc.unshare(0x10000000),
        "mount namespace": libc.unshare(0x00020000),
        "clone": libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0),
        "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
        "chroot": libc.chroot(b"/tmp"),
        "umount": libc.umount2(b"/proc", 2),
        "mknod": attempted(lambda: os.mknod("disk", 0o60666, os.makedev(8, 0))),
        "io_uring": libc.syscall(425, 1, 0),
        "keyring": libc.syscall(250, 0, -3, 1),
        "bpf": libc.syscall(321, 0, 0, 0),
        "su": attempted(lambda: subprocess.run(["/usr/bin/su", "-c", "id"], capture_output=True, timeout=5).returncode),
    }
    return {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "more": more,
            "status": {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}}


def descriptors():
    """What is inherited, but for the folder that lists it."""
    return {name: attempted(lambda: os.readlink(f"/proc/self/fd/{name}")) for name in os.listdir("/proc/self/fd")}


def shared():
    """Segments of shared memory and queues that others might find."""
    libc = ctypes.CDLL(None, use_errno=True)
    return {"shmget": libc.shmget(0x5EC2E7, 4096, 0o1666), "msgget": libc.msgget(0x5EC2E7, 0o1666),
            "file": attempted(lambda: open("/dev/shm/left-behind", "w").write("left")),
            "others": attempted(lambda: sorted(os.listdir("/dev/shm")))}


def modules(names):
    """Which can be imported: the grader's own modules may be loaded, but none with a secret in it."""
    return {name: attempted(lambda: str(__import__(name))) for name in names}


def ranks(count):
    """A real all-reduce over gloo, one forked process a rank."""
    import torch
    import torch.distributed as dist

    store, pipes = os.path.abspath("store"), []
    for rank in range(count):
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            try:
                dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
                x = torch.arange(3.0) + rank
                dist.all_reduce(x)
                gathered = [torch.zeros(1) for _ in range(count)]
                dist.all_gather(gathered, torch.tensor([float(rank)]))
                os.write(write_end, repr([x.tolist(), [g.item() for g in gathered]]).encode())
                dist.barrier()
                dist.destroy_process_group()
            except BaseException as error:
                os.write(write_end, f"failed: {type(error).__name__}: {error}".encode()[:200])
            finally:
                os._exit(0)
        os.close(write_end)
        pipes.append(read_end)
    said = []
    for pipe in pipes:
        with os.fdopen(pipe) as file:
            said.append(file.read())
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return said
'''


# The grader's side


def planted(folder):
    """A house, other people's work and a home, each with the secret in it. Returns the paths."""
    house = folder / "house"
    shutil.copytree(HERE / "house", house, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    paths = [
        house / "solutions" / ID / "running_mean.py", house / "tests" / ID / "test_running_mean.py",
        house / "tests" / ID / "mutants.toml", house / "submitted" / "bob" / ID / "running_mean.py",
        house / "out" / "results.jsonl", house / ".grader" / "progress.sqlite", folder / "home" / ".ssh" / "id_ed25519",
        folder / "home" / "notes.txt",
    ]  # fmt: skip
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"# {SECRET}\n")
    return [str(path) for path in paths]


def outside(folder, refuse):
    """Everything that the cage gives away, as data."""
    from grader.answering.request import Request
    from grader.bank.catalog import House
    from grader.base.errors import HouseError
    from grader.engine import cage
    from grader.engine.batch import Engine
    from grader.engine.channel import Caged

    if refuse:
        refuse_namespaces()
    secrets = planted(folder)
    os.environ["TEACHERS_TOKEN"] = SECRET
    os.environ["HOME"] = str(folder / "home")
    bystander = subprocess.Popen([sys.executable, "-c", "input()", SECRET], stdin=subprocess.PIPE)
    tcp = socket.create_server(("0.0.0.0", 0))
    abstract, plain = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    name = f"outside-{os.getpid()}"
    abstract.bind("\0" + name)
    plain.bind(str(folder / "socket"))
    for sock in (abstract, plain):
        sock.listen()
    exercise = House(folder / "house").exercises[ID]
    shown = {}
    before = set(Path("/dev/shm").iterdir())
    try:
        engine, shown["required"] = Engine([exercise], cage.Level.FULL), "held"
    except HouseError as error:
        engine, shown["required"] = Engine([exercise]), str(error)
    with engine:
        caged = Caged(engine.control, exercise, INSIDE)
        caged.begin(exercise.parts[1], 0)

        def ask(function, *args):
            return caged.ask(Request("call", function, False, args, {}))

        folders = sorted({str(Path(path).parent) for path in secrets} | {str(folder), str(folder / "house"), "/root",
            "/home", "/etc", "/var", "/work", "/opt", "/run", "/boot", "/mnt", str(REPOSITORY)})  # fmt: skip
        system_files = ["/etc/shadow", "/etc/passwd", "/etc/hostname", "/root/.bash_history", "/proc/1/environ",
            "/proc/kcore", "/sys/kernel/uevent_helper"]  # fmt: skip
        pids = [os.getpid(), bystander.pid]
        # First, since it must find the folder empty.
        shown["folder"] = ask("folder")
        shown["read"] = ask("read", [*secrets, *system_files, str(REPOSITORY / "grader" / "judging" / "pool.py")])
        shown["linked"] = ask("linked", secrets)
        shown["listed"] = ask("listed", folders)
        places = ["/", "/usr", "/usr/lib", "/etc", "/root", "/home", "/var/tmp", "/dev", "/sys", "/proc",
            "/proc/sys/vm", sys.prefix, str(Path(os.__file__).parent), "/proc/sys/vm/swappiness"]  # fmt: skip
        shown["written"] = ask("written", [*places, *folders, *secrets, __file__, os.__file__])
        shown["environment"] = ask("environment")
        shown["processes"] = ask("processes", pids)
        routed = ["127.0.0.1", *_addresses(), "192.0.2.1", "8.8.8.8"]
        shown["network"] = ask("network", routed, tcp.getsockname()[1], name, str(folder / "socket"))
        shown["loopback"] = ask("loopback")
        shown["interfaces"] = ask("interfaces")
        shown["descriptors"] = ask("descriptors")
        shown["shared"] = ask("shared")
        shown["modules"] = ask(
            "modules", ["grader.judging.pool", "grader.judging.collect", "grader.engine.batch", "tests"]
        )
        shown["ranks"] = ask("ranks", 4)
        shown["privileges"] = ask("privileges")  # last: part of it may cost the process its life
        shown["level"] = caged.isolation
        caged.close()
    shown["secrets intact"] = all(SECRET in Path(path).read_text() for path in secrets)
    shown["uid"] = os.getuid()
    shown["temporary"] = sorted(path.name for path in Path(os.environ["TMPDIR"]).iterdir())
    shown["left in /dev/shm"] = [str(path) for path in {*Path("/dev/shm").iterdir()} - before if "left" in path.name]
    shown["bystander"] = bystander.poll()
    bystander.kill()
    bystander.wait()
    return shown


def _addresses():
    """This machine's own addresses; none where it has no route."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))
        return [sock.getsockname()[0]]
    return []


# The tests' side


@pytest.fixture(scope="module", params=WAYS)
def cage(request, tmp_path_factory):
    """What the cage showed, in one of four ways of running the grader."""
    who, level = request.param.split()
    if who == "root" and os.getuid() != 0:
        pytest.skip("not root here")
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    become = as_nobody if who == "user" and os.getuid() == 0 else []
    if level == "full" and not grants_namespaces(*become):
        pytest.skip("this machine refuses namespaces")
    shown = once(tmp_path_factory, f"cage {request.param}", lambda: asked(level, become))
    assert shown["uid"] == (0 if who == "root" else NOBODY if become else os.getuid())
    return {**shown, "want": level}


def asked(level, become):
    """What `outside` says. become: the command that makes another user run it."""
    folder = Path(tempfile.mkdtemp(prefix="cage-test-", dir="/var/tmp"))  # pytest's own are closed to other users
    try:
        (folder / "tmp").mkdir()
        folder.chmod(0o755)
        command = [sys.executable, str(Path(__file__)), str(folder), level]
        if become:
            for path in (folder, folder / "tmp"):
                os.chown(path, NOBODY, NOBODY)
            command = in_reach([*become, *command], folder)
            if command[0] == "unshare" and not grants_namespaces():
                pytest.skip("the interpreter lies in a closed home, and nothing may be mounted over it")
        return said(command, folder / "tmp")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def granted_of(answers):
    """Which answers are no refusal."""
    return [name for name, answer in answers.items() if not str(answer).startswith("refused: ")]


def test_the_level_is_the_strongest_that_the_machine_grants(cage):
    assert cage["level"] == cage["want"]


def test_full_isolation_that_is_required_holds_or_nothing_starts(cage):
    if cage["want"] == "full":
        assert cage["required"] == "held"
    else:
        assert "isolates at level 'landlock', but 'full' is required" in cage["required"]


def test_no_secret_can_be_read(cage):
    assert SECRET not in json.dumps({**cage, "processes": {**cage["processes"], "seen": {}}})
    assert not granted_of(cage["read"])
    assert not granted_of(cage["linked"])


def test_no_folder_beside_its_own_can_be_listed(cage):
    assert not granted_of(cage["listed"])


def test_nothing_beside_its_own_folder_can_be_written_to(cage):
    assert cage["written"] == []
    assert cage["secrets intact"]
    assert cage["folder"]["holds"] == []
    assert cage["folder"]["mine"] == 4
    assert cage["folder"]["cwd"] == cage["folder"]["temporary"] == cage["folder"]["home"]


def test_the_environment_says_nothing(cage):
    assert sorted(cage["environment"]["own"]) == ["HOME", "LC_ALL", "OMP_NUM_THREADS", "PATH", "TMPDIR"]
    assert SECRET not in cage["environment"]["initial"]
    assert "TEACHERS_TOKEN" not in cage["environment"]["initial"]


def test_other_processes_can_be_neither_looked_into_nor_touched(cage):
    assert not granted_of(cage["processes"]["deep"])
    touched = cage["processes"]["touched"]
    if cage["want"] == "full":  # a signal to all reaches itself alone; a number from outside means nobody
        touched = {name: answer for name, answer in touched.items() if name != "kill -1"}
    assert all(str(answer).startswith("refused: ") or answer == -1 for answer in touched.values()), touched
    assert cage["bystander"] is None


def test_other_processes_are_seen_by_name_at_most(cage):
    seen = cage["processes"]["seen"]
    if cage["want"] == "full":
        assert sorted(seen, key=int) == ["1", "2"]
    else:  # what SECURITY.md says of this level: it sees that they exist
        assert len(seen) > 2


def test_no_network_can_be_reached(cage):
    assert not granted_of(cage["network"])


def test_its_own_loopback_works_where_it_has_one(cage):
    if cage["want"] == "full":
        assert cage["loopback"] == "hello"
        assert cage["interfaces"] == ["lo"]
    else:
        assert cage["loopback"].startswith("refused: ")


def test_real_ranks_talk_over_gloo_where_there_is_a_loopback(cage):
    if cage["want"] == "full":
        assert cage["ranks"] == ["[[6.0, 10.0, 14.0], [0.0, 1.0, 2.0, 3.0]]"] * 4
    else:  # what SECURITY.md says of this level
        assert all(said.startswith("failed: ") for said in cage["ranks"])


def test_no_privilege_is_left_and_none_can_be_had(cage):
    held = cage["privileges"]
    assert held["uid"] != 0
    assert held["gid"] != 0
    assert set(held["groups"]) <= {held["gid"]}
    assert held["status"] == {"CapEff": "0" * 16, "CapPrm": "0" * 16, "CapBnd": held["status"]["CapBnd"],
        "NoNewPrivs": "1", "Seccomp": "2"}  # fmt: skip
    more = {name: answer for name, answer in held["more"].items() if name != "su"}
    assert all(answer == -1 or str(answer).startswith("refused: ") for answer in more.values()), more
    assert held["more"]["su"] != 0


def test_nothing_is_inherited_but_its_own_channels(cage):
    held = {name: target for name, target in cage["descriptors"].items() if not target.startswith("refused: ")}
    assert held.pop("0") == "/dev/null"  # but for the one that listed them, closed since
    assert {name: target.split(":")[0] for name, target in held.items()} == {"1": "pipe", "2": "pipe", "3": "socket"}


def test_shared_memory_is_its_own_or_none(cage):
    assert cage["left in /dev/shm"] == []
    if cage["want"] == "full":
        assert cage["shared"]["others"] == ["left-behind"]
    else:
        assert cage["shared"]["shmget"] == cage["shared"]["msgget"] == -1
        assert str(cage["shared"]["file"]).startswith("refused: ")


def test_the_graders_own_side_cannot_be_imported(cage):
    assert not granted_of(cage["modules"])


def test_nothing_is_left_in_the_temporary_folder(cage):
    assert cage["temporary"] == []


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    print(json.dumps(outside(Path(sys.argv[1]), sys.argv[2] == "landlock")))
