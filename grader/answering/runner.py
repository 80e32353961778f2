"""Run an attempt in this process: in practice, so that print, breakpoint and --pdb work; in the cage; as reference."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from grader.answering import alone, entering, leaving
from grader.answering.answer import answer
from grader.answering.forbidden import loading, watched
from grader.answering.module import load_source
from grader.answering.request import Request
from grader.bank.catalog import Part
from grader.bank.source import read_source
from grader.bank.standins import StandIns, without_definitions
from grader.base import fair
from grader.verdicts.doubt import Doubt
from grader.verdicts.explain import Explainer
from grader.verdicts.fault import Unusable
from grader.verdicts.raised import described

_PREDECESSORS = "predecessors.py"


class Runner:
    """Answers requests with one file's code.

    text: what to run in place of what the file holds. standins: what takes the place of definitions of the file.
    forbidden: what any part of it forbids.
    raised: the last exception that the attempt raised; a check that ends with this very exception ended by the
    learner's doing.
    """

    def __init__(
        self,
        path: Path,
        drivers: ModuleType | None,
        name: str,
        text: str | None = None,
        standins: StandIns | None = None,
        forbidden: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.drivers = drivers
        self.name = name
        self.explainer = Explainer(path, text or "")
        self.isolation = "practice"
        self.means: dict[str, str] = {}
        self.doubts: dict[str, Doubt] = {}
        self.on_loss: Callable[[float], None] = lambda seconds: None
        self.raised: BaseException | None = None
        self.printed = ""  # pytest catches it
        self.forbidden: Sequence[str] = ()
        self._forbidden = forbidden
        self._copied: Collection[Any] = ()
        self._text = text
        self._standins = standins
        self._module: ModuleType | None = None
        self._unusable: Unusable | None = None

    def begin(self, part: Part | None, seed: int) -> None:
        """Get ready for one check of `part`. seed: of the attempt's own random numbers."""
        self.raised = None
        self.forbidden = part.forbidden if part else ()
        if self._text is None:
            with suppress(OSError, UnicodeDecodeError):  # `_load` meets it again, and has the words for it
                self._text = self.explainer.text = read_source(self.path)
        torch.default_generator.manual_seed(seed)  # not every device's: that formats a traceback, each time

    def ask(self, request: Request) -> Any:
        """The answer; what the learner's code raises is remembered and goes through, traceback and all."""
        try:
            module = self._load()
            with watched(self.forbidden, self._copied) as offences:
                try:
                    return answer(request, module, self.drivers)
                finally:
                    if offences:
                        raise offences[0]  # also where the code swallowed it
        except BaseException as error:
            self.raised = error
            try:  # here, on the clock of the check: its text is the learner's code too
                with suppress(Exception):
                    error.raised = described(error, self.path)  # type: ignore[attr-defined]  # as `revive` does
            except BaseException as rung:
                self.raised = rung
                raise
            raise

    def clock(self) -> AbstractContextManager[None]:
        """Lets the clock of a check leave out what others took of the processors."""
        return fair.check_clock(self._loss)

    def _loss(self) -> float:
        lost = fair.own_loss()
        self.on_loss(lost)
        return lost

    def close(self) -> None:
        """Nothing to end: the attempt ran in this process."""

    def _load(self) -> ModuleType:
        """The learner's module, loaded once; a file that does not load fails each check alike."""
        if self._unusable:
            raise self._unusable
        if self._module is None:
            try:
                if self._text is None:
                    self._text = self.explainer.text = read_source(self.path)
                alone.at_home()
                leaving.lay()
                entering.lay()
                names = sorted({*self._forbidden, *self.forbidden})
                with loading(names, {str(self.path), _PREDECESSORS}) as self._copied:
                    self._module = self._loaded(self._text)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._unusable = self.explainer.loading(error)
                raise self._unusable from error
        return self._module

    def _loaded(self, text: str) -> ModuleType:
        if self._standins is None:
            return load_source(text, self.path, self.name)
        reference = load_source(self._standins.text, Path(_PREDECESSORS), f"{self.name}.predecessors")
        given = {name: getattr(reference, name) for name in self._standins.names}
        return load_source(without_definitions(text, given), self.path, self.name, given)


class Steady:
    """The settings of the process that an attempt may change, as they were when this was made."""

    def __init__(self) -> None:
        self._dtype, self._grad = torch.get_default_dtype(), torch.is_grad_enabled()
        self._deterministic = torch.are_deterministic_algorithms_enabled()

    def restore(self) -> None:
        torch.set_default_dtype(self._dtype)
        torch.set_grad_enabled(self._grad)
        if torch.are_deterministic_algorithms_enabled() != self._deterministic:
            torch.use_deterministic_algorithms(self._deterministic)  # imports a compiler, 1 s: only where it must


@contextmanager
def steady() -> Iterator[None]:
    """Restore the settings of the process that an attempt may have changed."""
    before = Steady()
    torch.set_num_threads(1)  # the sizes are small: more threads only wait for each other
    try:
        yield
    finally:
        before.restore()
