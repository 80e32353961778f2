"""A learner's file whose functions use what honest code uses: of torch, the standard library, the system's programs.

Each function returns what a right machine gives. `NEEDS_MORE` lists those that need sockets, ways to other processes,
or the modes of files, and so a cage whose namespaces hide what is outside.
"""

import asyncio
import concurrent.futures
import contextlib
import faulthandler
import fcntl
import mmap
import multiprocessing
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy
import torch

NEEDS_MORE = ["pool", "queue", "loader", "servers", "copies", "a_child_that_is_ended", "interfaces"]


def optimizers():
    """One step by each optimizer of torch: those that did not lower the loss of a line."""
    failed = []
    for name, kind in sorted(vars(torch.optim).items()):
        if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer) or kind is torch.optim.Optimizer:
            continue
        sparse = name == "SparseAdam"
        layer = torch.nn.Embedding(4, 4, sparse=True) if sparse else torch.nn.Linear(4, 4, bias=False)
        x = torch.arange(4) if sparse else torch.ones(2, 4)

        def loss(layer=layer, x=x):
            layer.zero_grad()
            value = (layer(x) - 1).square().sum()
            value.backward()
            return value

        optimizer = kind(layer.parameters(), lr=0.01)
        before = loss().item()
        for _ in range(3):
            optimizer.step(loss)
        if not loss().item() < before:
            failed.append(name)
    return failed


def operations():
    """Algebra, transforms and convolutions, in two threads; a script; a profile; saved and read back."""
    torch.set_num_threads(2)
    x = torch.randn(600, 600, dtype=torch.float64)
    for value in (x @ x, torch.linalg.svd(x[:50, :50]).U, torch.fft.rfft(x), torch.linalg.eigh(x[:50, :50])[0]):
        assert torch.isfinite(value.abs()).all()
    torch.nn.functional.conv2d(torch.randn(2, 3, 64, 64), torch.randn(8, 3, 3, 3))
    torch.jit.trace(torch.sin, torch.ones(2))
    with torch.profiler.profile() as profile:
        torch.ones(2).sum()
    profile.key_averages()
    torch.save({"x": x}, "x.pt")
    same = torch.equal(torch.load("x.pt")["x"], x)
    numpy.save("x.npy", x.numpy())
    mapped = numpy.load("x.npy", mmap_mode="r+")
    mapped[0] = 0
    mapped.flush()
    torch.from_file("mapped", shared=True, size=100).fill_(1)
    torch.set_num_threads(1)
    return same


def threads():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return sum(pool.map(lambda i: i * i, range(10)))


def forks():
    if (pid := os.fork()) == 0:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def programs():
    """By each way that Python has to start one, and such as people start."""
    Path("words").write_text("b\na\n")
    said = [
        subprocess.run(["sort", "words"], capture_output=True, text=True, check=True).stdout,
        subprocess.run(
            "cat words | tr a-z A-Z; ls -l . | grep -c words", shell=True, capture_output=True, text=True
        ).stdout,
        subprocess.run(["cp", "words", "other"], capture_output=True, text=True).stderr,
        subprocess.run(["bash", "-c", "for i in 1 2; do echo $i; done"], capture_output=True, text=True).stdout,
        os.popen("uname").read(),
        str(os.system("true")),
        str(os.waitpid(os.posix_spawn("/usr/bin/true", ["true"], os.environ), 0)[1]),
    ]
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        said.append(cat.communicate(b"through")[0].decode())
    return said


def files():
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"x" * 100)
        file.flush()
        os.fsync(file.fileno())
        file.truncate(50)
        with mmap.mmap(file.fileno(), 50) as memory:
            memory[0] = 65
            memory.flush()
        shutil.copyfile(file.name, Path(folder, "copy"))
        Path(folder, "copy").replace(Path(folder, "moved"))
        with Path(folder, "moved").open("a") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            fcntl.lockf(opened, fcntl.LOCK_UN)
            opened.isatty()
        os.set_inheritable(file.fileno(), True)
        for name in ("new", "old"):
            Path(folder, name).mkdir()
        Path(folder, "new", "shard").write_bytes(b"")
        Path(folder, "new", "shard").replace(Path(folder, "old", "shard"))  # to another folder
        os.link(Path(folder, "old", "shard"), Path(folder, "new", "linked"))
        shutil.rmtree(Path(folder, "new"))
        Path(folder, "old", "shard").rename(Path(folder, "shard")).unlink()
        Path(folder, "old").rmdir()
        return sorted(path.stat().st_size for path in Path(folder).iterdir()), shutil.disk_usage(folder).total > 0


def database():
    with contextlib.closing(sqlite3.connect("data.sqlite")) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table t (x)")
        connection.execute("insert into t values (1)")
        connection.commit()
        return connection.execute("select x from t").fetchone()[0]


def signals():
    """Handlers, timers, and what waits for them."""
    heard = []
    for number in (signal.SIGALRM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: heard.append(number))
    with Path("trace").open("w") as file:
        faulthandler.dump_traceback_later(60, file=file)
        faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while not heard:
        signal.pause()
    signal.raise_signal(signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    signal.alarm(0)
    return sorted(set(heard)), len(heard)


def event_loop():
    async def one(i):
        await asyncio.sleep(0.001)
        return i

    async def everything():
        process = await asyncio.create_subprocess_exec("echo", "hello", stdout=subprocess.PIPE)
        said = await process.stdout.read()
        await process.wait()
        return sum(await asyncio.gather(*(one(i) for i in range(5)))), await asyncio.to_thread(len, "abc"), said

    return asyncio.run(everything())


def waiting():
    """By each way that the select module has, at a pipe and at a counter."""
    read, write = os.pipe()
    os.write(write, b"x")
    with contextlib.closing(select.epoll()) as epoll:
        epoll.register(read, select.EPOLLIN)
        found = [fd for fd, _ in epoll.poll(1)]
    poll = select.poll()
    poll.register(read, select.POLLIN)
    found += [fd for fd, _ in poll.poll(1)] + select.select([read], [], [], 1)[0]
    counter = os.eventfd(1)
    found.append(os.eventfd_read(counter))
    for fd in (read, write, counter):
        os.close(fd)
    return len(found)


def process_pipe():
    """A process of multiprocessing, and a pipe to it."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send("hello"))
    process.start()
    said = ours.recv()
    process.join()
    return said, process.exitcode


def pool():
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return workers.map(abs, [-1, -2])


def queue():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=queue.put, args=(1,))
    process.start()
    said = queue.get()
    process.join()
    return said


def loader():
    data = torch.utils.data.TensorDataset(torch.arange(6.0))
    return [x.tolist() for (x,) in torch.utils.data.DataLoader(data, batch_size=3, num_workers=2)]


def servers():
    """A stream, datagrams and a socket of the file system, each with oneself."""
    said = []
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"stream")
        said.append(server.accept()[0].recv(9))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        sock.sendto(b"datagram", sock.getsockname())
        said.append(sock.recv(9))
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        client.connect("socket")
        client.sendall(b"unix")
        said.append(server.accept()[0].recv(9))
    return said


def copies():
    Path("tree").mkdir()
    Path("tree", "file").write_text("text")
    Path("tree", "file").chmod(0o600)
    shutil.copytree("tree", "copied")
    shutil.make_archive("packed", "gztar", "copied")
    shutil.unpack_archive("packed.tar.gz", "unpacked")
    os.mkfifo("fifo")
    os.utime("fifo")
    return Path("unpacked", "file").read_text()


def a_child_that_is_ended():
    with subprocess.Popen(["sleep", "100"]) as process:
        process.terminate()
    return process.returncode


def interfaces():
    return [name for _, name in socket.if_nameindex()], socket.if_nametoindex("lo")


def times():
    time.sleep(0.001)
    time.get_clock_info("monotonic")
    return time.process_time() > 0, os.times().user > 0, len(os.sched_getaffinity(0)) > 0, os.getloadavg() is not None


EXPECTED = {
    "optimizers": [], "operations": True, "threads": 285, "forks": 7, "database": 1,
    "programs": ["a\nb\n", "B\nA\n1\n", "", "1\n2\n", "Linux\n", "0", "0", "through"],
    "files": ([50, 50], True), "signals": ([10, 14], 4), "event_loop": (10, 3, b"hello\n"), "waiting": 4,
    "process_pipe": ("hello", 0), "times": (True, True, True, True),
    "pool": [1, 2], "queue": 1, "loader": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
    "servers": [b"stream", b"datagram", b"unix"], "copies": "text", "a_child_that_is_ended": -15,
    "interfaces": (["lo"], 1),
}  # fmt: skip


def used():
    """What each function came to that did not come to what it should, by its name."""
    wrong = {}
    for name, want in EXPECTED.items():
        try:
            got = globals()[name]()
        except BaseException as error:
            wrong[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        if got != want:
            wrong[name] = f"{got!r}"[:300]
    return wrong
