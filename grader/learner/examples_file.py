"""`test_examples.py` of an exercise under pytest: beside those of others, and whatever the learner's file holds.

A file that does not load fails each example with the sentence that a check would say; so does a part that stands as in
the stub. All else is pytest's: an example is the learner's to read, with the values that pytest shows.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from grader.answering.module import load_source
from grader.bank.catalog import EXERCISE_ID, Exercise, read_exercise
from grader.bank.derived import stub_of
from grader.bank.examples import examples_of
from grader.bank.source import read_source
from grader.base.errors import HouseError
from grader.judging.clock import clock
from grader.verdicts.explain import Explainer
from grader.verdicts.told import Told


class ExamplesFile(pytest.Module):
    """The collector of the visible examples of one exercise."""

    exercise: Exercise
    unusable: Told | None
    """What each example says of a learner's file that does not load."""
    not_begun: dict[str, Told]
    """Example to what it says of its part, which stands as in the stub."""

    def _getobj(self) -> Any:
        self.unusable, self.not_begun = None, {}
        learners = self._learners_module()
        sys.modules[learners.__name__] = learners  # as the examples import it
        with self._known_by_path():
            return super()._getobj()  # type: ignore[no-untyped-call]

    def _learners_module(self) -> ModuleType:
        """The learner's file, loaded; or what stands in for one that does not load."""
        path = self.path.with_name(f"{self.exercise.stem}.py")
        explainer = Explainer(path, "")
        if not path.is_file():
            gone = FileNotFoundError(f"{path.name} is missing: `grader reset {self.exercise.number}` writes it again.")
            return self._stand_in(explainer.loading(gone).told)
        importlib.import_module("torch")  # seconds, which are not the learner's
        try:
            explainer.text = read_source(path)
            with clock(self.exercise.limits.check_seconds):
                module = load_source(explainer.text, path, self.exercise.stem)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the learner's file raises is what they are told
            return self._stand_in(explainer.loading(error).told)
        self.not_begun = self._not_begun(explainer)
        return module

    def _stand_in(self, told: Told) -> ModuleType:
        """A module that has every name, so that pytest finds the same examples as before."""
        self.unusable = told
        module = ModuleType(self.exercise.stem)
        module.__dict__["__getattr__"] = _named
        return module

    def _not_begun(self, explainer: Explainer) -> dict[str, Told]:
        try:
            stub, text = stub_of(self.exercise), self.path.read_text(encoding="utf-8")
            untouched = [(part, explainer.not_begun(part, stub)) for part in self.exercise.parts]
            return {name: told for part, told in untouched if told for name in examples_of(text, self.exercise, part)}
        except (HouseError, OSError, SyntaxError, ValueError):
            return {}  # pytest itself says what is wrong with the examples; without a stub nothing is known

    @contextmanager
    def _known_by_path(self) -> Iterator[None]:
        """Let pytest name the module by its path: every exercise has a `test_examples.py`."""
        option = self.config.option
        before, option.importmode = option.importmode, "importlib"
        try:
            yield
        finally:
            option.importmode = before


def _named(name: str) -> Callable[..., None]:
    """Something of that name, of which pytest makes the ids of examples."""
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args: Any, **more: Any) -> None:
        raise NotImplementedError(f"{name}: the file does not load")

    missing.__name__ = name
    return missing


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    folder = module_path.parent
    is_ours = folder.parent.name == "exercises" and EXERCISE_ID.fullmatch(folder.name)
    if not is_ours or module_path.name != "test_examples.py":
        return None
    try:
        exercise = read_exercise(folder.parents[1], folder.name)
    except HouseError:
        return None  # pytest runs them as it runs any test
    found: ExamplesFile = ExamplesFile.from_parent(parent, path=module_path)
    found.exercise = exercise
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Say what is known before an example runs."""
    file = item.getparent(ExamplesFile)
    told = file and (file.unusable or file.not_begun.get(getattr(item, "originalname", item.name)))
    if told:
        pytest.fail(told.message, pytrace=False)
