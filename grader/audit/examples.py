"""The doctests of a solution, and the visible examples, run on the solution."""

import doctest
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import msgspec

from grader.answering.module import load_source
from grader.audit.bench import Section
from grader.bank.catalog import Exercise
from grader.bank.source import read_source


def examples(exercise: Exercise) -> Section:
    """Each part has a doctest that runs on the solution, and so do the visible examples."""
    found = []
    text = read_source(exercise.solution)
    read, write = os.pipe()
    if os.fork() == 0:  # this process must run no torch operation
        try:
            import torch

            torch.set_num_threads(1)
            module = load_source(text, exercise.solution, f"doctest.{exercise.id}")
            os.write(write, msgspec.json.encode(_doctests(exercise, module))[: 1 << 16])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.wait()
    found += msgspec.json.decode(data, type=list[str]) if data else ["the solution's doctests crashed."]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{exercise.stem}.py").write_text(text)
        Path(folder, "test_examples.py").write_text(exercise.examples.read_text())
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode:
            found.append(f"test_examples.py fails on the solution:\n{done.stdout.strip()[-1500:]}")
    return found, "doctests of every part and the visible examples run on the solution"


def _doctests(exercise: Exercise, module: ModuleType) -> list[str]:
    found = []
    tests = {test.name: test for test in doctest.DocTestFinder().find(module, "m", globs=dict(vars(module)))}
    for part in exercise.parts:
        for name in part.names:
            own = [test for key, test in tests.items() if key == f"m.{name}" or key.startswith(f"m.{name}.")]
            if not any(test.examples for test in own):
                found.append(f"'{name}' has no doctest.")
    for test in tests.values():
        said = io.StringIO()
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, out=said.write)
        if runner.failures:
            found.append(f"a doctest of {test.name.removeprefix('m.')} fails:\n{said.getvalue().strip()[:1000]}")
    return found
