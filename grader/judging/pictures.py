"""A declared picture of one text: its driver is asked as a check asks, and the answer is read as a picture."""

import time

from grader.answering.channel import Channel
from grader.answering.request import Request
from grader.bank.catalog import DeclaredPicture, Exercise
from grader.base.errors import EngineError
from grader.checks.picture import Unfit, picture_of
from grader.verdicts.bounds import cut_told
from grader.verdicts.picture import Made

_SEED = 0


def make(channel: Channel, exercise: Exercise, declared: DeclaredPicture, stub: str) -> Made:
    """The picture of what answers on the channel, or why there is none.

    stub: the file as it is handed out; of a part that stands as in it there is no picture. Raises EngineError, and
    KeyboardInterrupt.
    """
    part = exercise.part(declared.part)
    told = channel.explainer.not_begun(part, stub)
    if told:
        return Made(declared.part, declared.driver, problem=told.message)
    try:
        channel.begin(part, _SEED)
        began = time.monotonic()
        value = channel.ask(Request(kind="call", target=declared.driver, driver=True, args=(), kwargs={}))
        seconds = round(time.monotonic() - began, 3)
        return Made(declared.part, declared.driver, picture_of(declared, value), seconds=seconds)
    except Unfit as error:
        return Made(declared.part, declared.driver, problem=str(error))
    except (EngineError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever the learner's code raises
        told = cut_told(channel.explainer.learner(error, part))
        return Made(declared.part, declared.driver, problem=told.message)
