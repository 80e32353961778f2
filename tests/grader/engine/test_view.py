"""What is hidden from a cage though it lies where a cage may read: exercises and grader among Python's packages.

Run as a script this file is the grader's side, in an environment that holds secrets: it asks for them from within.
"""

import json
import os
import shutil
import sys
import tempfile
import venv
from pathlib import Path

import pytest
from shared import NOBODY, REPOSITORY, grants_namespaces, in_reach, refuse_namespaces, said

from grader.engine import hidden
from grader.engine.view import View

SECRET = "4c7e-a-secret-among-the-packages"
NAME = "dl_kata/solutions/dl_901_running_mean/running_mean.py"

INSIDE = r'''
import importlib
import importlib.resources
import linecache
import os
import pathlib
import pkgutil
import runpy
import subprocess
import sys


def at(path):
    return open(path, "rb").read()


def by_descriptor(path):
    held = os.open(path, os.O_PATH)
    return at(f"/proc/self/fd/{held}")


def from_folder(path):
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    return os.read(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=folder), 10_000)


def by_step(path):
    os.chdir(os.path.dirname(path))
    return at(os.path.basename(path))


def by_link(kind, path):
    kind(path, kind.__name__)
    return at(kind.__name__)


def by_program(*command):
    return subprocess.run(command, capture_output=True).stdout


def by_resources(path):
    package, _, below = path.rpartition("site-packages/")[2].partition("/")
    return importlib.resources.files(package).joinpath(below).read_bytes()


def by_data(path):
    package, _, below = path.rpartition("site-packages/")[2].partition("/")
    return pkgutil.get_data(package, below)


def by_import(path):
    name = path.rpartition("site-packages/")[2].removesuffix(".py").replace("/", ".")
    return importlib.import_module(name).SECRET


def uncovered(path):
    """After taking away what may lie over it."""
    import ctypes

    libc, above = ctypes.CDLL(None), path
    while above != "/":
        libc.umount2(above.encode(), 2)
        above = os.path.dirname(above)
    return at(path)


WAYS = {
    "path": at, "descriptor": by_descriptor, "folder": from_folder, "step": by_step, "resources": by_resources,
    "data": by_data, "import": by_import, "run": lambda path: runpy.run_path(path)["SECRET"],
    "lines": lambda path: "".join(linecache.getlines(path)), "pathlib": lambda path: pathlib.Path(path).read_text(),
    "root": lambda path: at(f"/proc/self/root{path}"), "first": lambda path: at(f"/proc/1/root{path}"),
    "parent": lambda path: at(f"/proc/{os.getppid()}/root{path}"), "up": lambda path: at("../" * 20 + path[1:]),
    "symlink": lambda path: by_link(os.symlink, path), "link": lambda path: by_link(os.link, path),
    "cat": lambda path: by_program("/bin/cat", path), "copy": lambda path: by_program("/bin/cp", path, "/dev/stdout"),
    "python": lambda path: by_program(sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())", path),
    "uncovered": uncovered, "lib64": lambda path: at(path.replace("/lib/", "/lib64/")),
}


def obtained(path):
    """What each way gives, or the error that refuses it."""
    found = {}
    for name, way in WAYS.items():
        try:
            found[name] = str(way(path))
        except BaseException as error:
            found[name] = f"refused: {type(error).__name__}"
    return found


def works():
    """What a caged interpreter must go on doing."""
    import fractions
    import torch.nn.functional

    return [str(fractions.Fraction(1, 2)), by_program(sys.executable, "-c", "import pygments; print(1)").decode(),
            importlib.import_module("yaml").__name__]
'''


def environment(folder):
    """An environment whose packages lie elsewhere, and a house installed in it. Returns the house's secrets."""
    venv.create(folder / "env", symlinks=True)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    (own,) = Path(sys.prefix, "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(f"{own}\n{REPOSITORY}\n")
    (packages / "outside").symlink_to(packages / "dl_kata")
    work = folder / "env" / "work"  # a clone and a batch below the environment, as where that is the clone's folder
    names = [packages / NAME, packages / "grader" / "secret.py", work / "solutions" / "dl_901_x" / "x.py"]
    names += [work / "tests" / "dl_901_x" / "test_x.py", work / ".grader" / "progress.sqlite", work / "bob" / "x.py"]
    names += [work / ".git" / "objects" / "x", work / "dist" / "x.py", work / "copy.py", folder / "env" / ".git" / "x"]
    for path in names:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'SECRET = "{SECRET}"\n')
    (packages / "grader" / "secret.py").write_text(f'SECRET = "{SECRET}"\n')
    return [*map(str, names), str(packages / "outside" / NAME.partition("/")[2])]


def outside(folder, secrets, refuse):
    """What the cage gives away, as data."""
    from msgspec.structs import replace

    from grader.answering.request import Request
    from grader.bank.catalog import House
    from grader.engine.batch import Engine
    from grader.engine.channel import Caged

    if refuse:
        refuse_namespaces()
    assert all(SECRET in Path(path).read_text() for path in secrets)
    exercise, work = House(folder / "house").exercises["dl_901_running_mean"], folder / "env" / "work"
    with Engine([exercise, replace(exercise, root=work, bank=work)], hidden=[work / "bob"]) as engine:
        engine.warm.await_ready()
        caged = Caged(engine.control, exercise, INSIDE)
        caged.begin(exercise.parts[1], 0)

        def ask(function, *args):
            return caged.ask(Request("call", function, False, args, {}))

        shown = {"works": ask("works"), "obtained": {path: ask("obtained", path) for path in secrets}}
        shown["level"] = caged.isolation
        caged.close()
    return shown


@pytest.mark.parametrize("way", ["root full", "user landlock"])
def test_what_is_hidden_is_read_by_no_way(built, way):
    who, level = way.split()
    if who == "root" and os.getuid() != 0:
        pytest.skip("not root here")
    if level == "full" and not grants_namespaces():
        pytest.skip("this machine refuses namespaces")
    folder = Path(tempfile.mkdtemp(prefix="view-test-", dir="/var/tmp"))  # pytest's own are closed to other users
    try:
        shown = asked(folder, built, level, become=who == "user" and os.getuid() == 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert shown["level"] == level
    assert shown["works"] == ["1/2", "1\n", "yaml"]
    for path, ways in shown["obtained"].items():
        assert SECRET not in json.dumps(ways), (path, ways)
        assert ways["path"] == "b''" or ways["path"].startswith("refused: ")  # a file is covered by an empty one


def asked(folder, built, level, become):
    """What `outside` says. become: run it as another user."""
    shutil.copytree(built, folder / "house")
    secrets = environment(folder)
    (folder / "tmp").mkdir()
    folder.chmod(0o755)
    command = [str(folder / "env" / "bin" / "python"), __file__, str(folder), level, *secrets]
    if become:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command = in_reach([*as_nobody, *command], folder)
        if command[0] == "unshare" and not grants_namespaces():
            pytest.skip("the interpreter lies in a closed home, and nothing may be mounted over it")
    return said(command, folder / "tmp")


def test_a_folder_that_is_hidden_is_covered_by_all_its_names(tmp_path):
    (tmp_path / "packages" / "bank").mkdir(parents=True)
    (tmp_path / "other").symlink_to("packages")
    seen = View((str(tmp_path / "packages"), str(tmp_path / "other")), (str(tmp_path / "packages" / "bank"),))
    assert seen.covers() == [str(tmp_path / "packages" / "bank"), str(tmp_path / "other" / "bank")]


def test_landlock_is_told_each_neighbour_of_what_is_hidden(tmp_path):
    for name in ("torch", "bank/solutions", "numpy/bank"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("bank")
    (tmp_path / "six.py").touch()
    seen = View((str(tmp_path),), (str(tmp_path / "bank"),))
    names = {os.path.relpath(path, tmp_path): all_below for path, all_below in seen.grants()}
    assert names == {".": False, "torch": True, "numpy": True, "six.py": True}


def test_beside_a_house_all_is_hidden_and_the_history_above_it(monkeypatch, tmp_path):
    assert not set(hidden.beside(tmp_path))
    monkeypatch.setattr(hidden, "readable", lambda: [str(tmp_path), sys.prefix])
    house = tmp_path / "above" / "house"
    (house / "dist").mkdir(parents=True)
    (house / "note.py").touch()
    found = set(hidden.beside(house))
    assert {house / "dist", house / "note.py", house / ".git", tmp_path / "above" / ".git"} <= found
    assert Path(sys.prefix, "lib") not in set(hidden.beside(Path(sys.prefix)))


def test_what_others_handed_in_is_hidden_in_nbgraders_exchange(monkeypatch, tmp_path):
    from nbgrader.exchange.default import Exchange

    assert Path(Exchange().root).is_relative_to(hidden._EXCHANGE)
    monkeypatch.setattr(hidden, "_EXCHANGE", tmp_path)
    assert tmp_path in hidden.hidden_paths([])


def test_what_python_needs_is_not_hidden():
    assert View.without(["/", sys.prefix, "/usr/lib/nothing-here"]).hidden == ("/usr/lib/nothing-here",)


if __name__ == "__main__":
    folder, level, *secrets = sys.argv[1:]
    print(json.dumps(outside(Path(folder), secrets, level == "landlock")))
