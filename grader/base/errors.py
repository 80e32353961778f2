"""What the house raises where something cannot be used or done. Each message is a sentence that says what to do."""


class HouseError(Exception):
    """Something that a person typed or wrote cannot be used; the message is a sentence that says what to do."""


class RunError(Exception):
    """pytest itself could not do its work; the message is all that it printed. An author's problem, not a learner's."""


class EngineError(RunError):
    """The engine itself failed; this says nothing about the attempt."""
