"""What a keeper sees of a disk that is everybody's, whatever is done to keep it from looking."""

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from shared import PATIENCE

from grader.engine import disk
from grader.engine.disk import Disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MANY_MAPS = """
import mmap, sys
kept = [mmap.mmap(-1, 4096, prot=mmap.PROT_READ if i % 2 else mmap.PROT_READ | mmap.PROT_WRITE) for i in range(60_000)]
print("ready", flush=True)
sys.stdin.read()
"""
MOST = 1 << 20


MAPPED_ALONE = """
import mmap, os, sys
kept = []
for number in range(9):  # each may hold an eighth
    path = os.path.join(sys.argv[1], str(number))
    with open(path, "w+b") as file:
        file.write(bytes(4096))
        file.flush()
        kept.append(mmap.mmap(file.fileno(), 4096))
    os.unlink(path)
os.closerange(3, 100)  # mmap has kept each file open
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def somebody(code, *args):
    """A process that has done something, and stays."""
    command = [sys.executable, "-c", code, *args]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.communicate()


@pytest.fixture(scope="module")
def many_maps():
    with somebody(MANY_MAPS) as pid:
        yield pid


def is_over_soon(looking, pids):
    """Whether a keeper that looks again and again finds more than may be."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if looking.is_over(pids):
            return True
    return False


def test_a_file_without_a_name_counts_as_long_as_it_is_mapped(tmp_path):
    with somebody(MAPPED_ALONE, str(tmp_path)) as pid:
        assert Disk(str(tmp_path), MOST).is_over([pid])
    assert not Disk(str(tmp_path), MOST).is_over([])


def test_long_lists_of_maps_do_not_keep_it_from_looking(tmp_path, many_maps):
    looking = Disk(str(tmp_path), MOST)
    assert not looking.is_over([many_maps] * 4)
    assert looking._next_look - time.monotonic() <= disk._LONGEST_REST
    (tmp_path / "large").write_bytes(bytes(2 * MOST))
    assert is_over_soon(looking, [many_maps] * 4)


def test_more_maps_than_can_be_looked_at_are_too_many(tmp_path, many_maps):
    assert Disk(str(tmp_path), MOST).is_over([many_maps] * 6)
