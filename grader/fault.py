"""What an attempt can do wrong other than raise an exception of its own. Each message is for the learner."""

from grader.result import Verdict


class Fault(Exception):
    """Base of these; a check never catches one."""


class Missing(Fault):
    """The learner's file does not define the name that the message is."""


class NotData(Fault):
    """The result is no data; the message says what it is, and where in the result."""


class Changed(Fault):
    """A call wrote to an argument; the message says to which."""


class Forbidden(Fault):
    """The attempt called what its part is there to write."""


class Elsewhere(Fault):
    """The attempt worked in another thread or process while its cost was measured, or its calls were watched."""


class NoLoopback(Fault):
    """Ranks were asked for where the isolation leaves no network, not even an own one; nothing that the learner did."""


class Unusable(Fault):
    """The file could not be loaded: the verdict and message hold for every check."""

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message


FAULTS: dict[str, type[Fault]] = {
    kind.__name__: kind for kind in (Missing, NotData, Changed, Forbidden, Elsewhere, NoLoopback, Unusable)
}
