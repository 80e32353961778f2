"""What an attempt can do wrong besides raising an exception of its own. Each message is for the learner."""

from collections.abc import Sequence

from grader.verdicts.told import Told


class Fault(Exception):
    """Base of these; a check never catches one."""


class Missing(Fault):
    """The learner's file does not define a name; the message is that name."""


class NotData(Fault):
    """The result is no data; the message says what it is, and where in the result."""


class Changed(Fault):
    """A call wrote to an argument; the message says to which."""


class Forbidden(Fault):
    """The attempt called a function that its part asks the learner to write."""


class Elsewhere(Fault):
    """The attempt worked in another thread or process while its cost was measured, or its calls were watched."""


class NoLoopback(Fault):
    """Ranks cannot run, since this isolation has no network at all. It is not the learner's fault."""


class Unusable(Fault):
    """No check can run: the file could not be loaded, or what answers for it has ended. told: what each check says.
    numbers: of the lines of the text that it tells of.
    """

    def __init__(self, told: Told, numbers: Sequence[int] = ()) -> None:
        super().__init__(told.message)
        self.told = told
        self.numbers = list(numbers)


FAULTS: dict[str, type[Fault]] = {
    kind.__name__: kind for kind in (Missing, NotData, Changed, Forbidden, Elsewhere, NoLoopback, Unusable)
}
