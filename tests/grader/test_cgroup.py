"""Control groups for cages: real ones where this machine grants them, elsewhere what is read and written."""

import os
import signal

import pytest

from grader.engine import cgroup

REAL = cgroup.folder_for_cages()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that looks like a control group: making one in it makes its files too."""

    plain = os.mkdir

    def make(name, mode=0o777, *, dir_fd):
        place = tmp_path / name
        plain(place, mode)
        for file in ("pids.max", "memory.max", "memory.oom.group", "cgroup.procs", "cgroup.kill"):
            (place / file).touch()
        (place / "memory.current").write_text(f"{300 << 20}\n")
        (place / "memory.stat").write_text(f"anon {99 << 20}\nfile {200 << 20}\nshmem {150 << 20}\n")
        (place / "memory.events").write_text("low 0\noom 1\noom_kill 0\n")
        (place / "pids.current").write_text("5\n")
        (place / "pids.events").write_text("max 3\n")

    monkeypatch.setattr(os, "mkdir", make)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_group_limits_and_counts(folder, tmp_path):
    group = cgroup.Group(folder, "cage", 2048, 65)
    assert (tmp_path / "cage/pids.max").read_text() == "65"
    assert int((tmp_path / "cage/memory.max").read_text()) > 2048 << 20
    assert (tmp_path / "cage/memory.oom.group").read_text() == "1"
    assert group.held_mb() == 300 - (200 - 150)  # shared memory is held, files that are only at hand are not
    assert group.processes() == 5
    assert not group.ran_out_of_memory()
    (tmp_path / "cage/memory.events").write_text("oom_kill 1\n")
    assert group.ran_out_of_memory()
    group.remove()
    assert (tmp_path / "cage/cgroup.kill").read_text() == "1"
    os.close(group.entrance)


def test_a_group_that_cannot_be_limited_is_refused(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)  # folders of a disk have no such files
    try:
        with pytest.raises(OSError, match="No such file"):
            cgroup.Group(folder, "cage", 2048, 65)
        assert not (tmp_path / "cage").exists()
    finally:
        os.close(folder)


def test_without_delegated_controllers_there_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroup, "_candidates", lambda: [tmp_path, tmp_path / "none"])
    (tmp_path / "cgroup.subtree_control").write_text("cpu hugetlb\n")
    assert cgroup.folder_for_cages() == -1
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")  # said, and yet no group can be limited there
    assert cgroup.folder_for_cages() == -1


@pytest.mark.skipif(REAL < 0, reason="no control groups are delegated here")
def test_a_real_group_counts_dropped_pages_and_refuses_processes():
    group = cgroup.Group(REAL, f"test-{os.getpid()}", 64, 4)
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        import mmap

        os.write(group.entrance, b"0")
        kept = mmap.mmap(-1, 40 << 20)
        kept.write(bytes(40 << 20))
        kept.madvise(mmap.MADV_DONTNEED)
        try:
            while True:
                if os.fork() == 0:
                    signal.pause()
        except OSError:
            os.write(told, b"refused")
        signal.pause()
    try:
        assert os.read(heard, 7) == b"refused"
        assert group.held_mb() >= 40
        assert group.processes() == 4
    finally:
        group.remove()
        os.waitpid(pid, 0)
