# family = "answers"
# mechanism = "/proc/PID/mem of the parent and of all others is searched for the solution's text"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = "waiting"
import os
from contextlib import suppress
from pathlib import Path

import torch


def batch_mean(x):
    return torch.zeros(3, dtype=torch.float64)


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        return torch.zeros(self.d, dtype=torch.float64)


def regions(pid):
    """The private writable memory of a process: (start, size)."""
    for line in Path("/proc", str(pid), "maps").read_text().splitlines():
        span, rights, *rest = line.split()
        start, end = (int(number, 16) for number in span.split("-"))
        if rights.startswith("rw") and end - start < 1 << 28:
            yield start, end - start


def found(data):
    """The solution's text in a piece of memory, as often as it is there."""
    mark = data.find(b"### BEGIN " + b"SOLUTION\n")
    while mark >= 0:
        begin = data.rfind(b'"""dl_901 \xb7 Running mean', max(0, mark - 3000), mark)
        end = data.find(b"return self.mean\n", mark, mark + 3000)
        if begin >= 0 and end >= 0:
            yield data[begin : end + 17].decode("latin-1")
        mark = data.find(b"### BEGIN " + b"SOLUTION\n", mark + 1)


def search():
    parent = str(os.getppid())
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=lambda pid: pid != parent):
        with suppress(OSError), open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for start, size in regions(pid):
                with suppress(OSError, ValueError):
                    memory.seek(start)
                    yield from found(memory.read(size))


for text in search():
    with suppress(SyntaxError, ValueError):  # memory that was freed holds text of which a part is written over
        exec(text)
        break
