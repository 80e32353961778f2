"""What answers a check's questions: the learner's code in this process, or in a cage."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from grader.answering.request import Request
from grader.bank.catalog import Part
from grader.verdicts.doubt import Doubt
from grader.verdicts.explain import Explainer


class Channel(Protocol):
    """One attempt, wherever it runs."""

    explainer: Explainer
    raised: BaseException | None
    """The last exception that the attempt raised: a check that ends with this very one ended by the learner's doing."""
    printed: str
    """What the code printed since `begin`, where nobody else catches it."""
    isolation: str
    """The level that held, once it is known."""
    means: dict[str, str]
    """What the share of the machine rests on."""
    doubts: dict[str, Doubt]
    """Parts for whose verdict the machine may be to blame."""
    on_loss: Callable[[float], None]
    """Gets the seconds that others took, whenever the clock of a check is looked at."""

    def begin(self, part: Part | None, seed: int) -> None:
        """Get ready for one check of `part`. seed: of the attempt's own random numbers."""

    def ask(self, request: Request) -> Any:
        """The answer. What the learner's code raises is remembered and goes through."""

    def clock(self) -> AbstractContextManager[None]:
        """Lets the clock of a check leave out what others took of the processors."""

    def close(self) -> None:
        """End what runs for it. A later question begins anew."""
