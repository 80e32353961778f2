"""Which function of the learner's is behind a failure: what it was called with, and what it gave back.

A check looks at what its driver returned. Once it has failed, its latest questions are asked again, of the attempt
and of the solution, for the calls of the learner's functions that each makes. The first one that gave back another kind
of value is named.
"""

import builtins
import contextlib
from collections.abc import Sequence

import msgspec

from grader.answering.calls import Call, Form
from grader.answering.request import Request
from grader.checks.attempt import Ask
from grader.checks.vocabulary import Wrong
from grader.verdicts.fault import Changed, Fault, NotData
from grader.verdicts.finding import Finding
from grader.verdicts.raised import carried, name_of
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict

_LOOKED_AT = 3
"""Of the questions of a check, the latest."""
_LOOKED_FOR = {"values": (), "form": ("number",), "shape": ("number", "shape"), "dtype": ("number", "dtype")}
"""What a finding may come from, besides None for a tensor and a tensor for a pair. `number`: a float is no tensor."""
_LONGEST = 600
"""Characters of a piece of a sentence: some of it is what the learner's process says."""
_ALL = ("number", "dtype", "shape")
_OWN_FORM = "state_dict"
"""What is in a dict that a method of this name gives back is the learner's own; a check that asks for more says so."""


class Called(msgspec.Struct, frozen=True):
    """What the calls of a failed check show; each is a piece of a sentence, or empty."""

    other: str = ""
    """Which function gave back another kind of value: `prefill returned None; expected a tensor of shape (2, 3)`."""
    raised: str = ""
    """The call that ended with the exception: `evict(scores=float32 (4,), keep=0)`."""
    wrote: str = ""
    """Which function wrote to what: `evict wrote to its argument 'scores'`."""


def called(asked: Sequence[Request], attempt: Ask, reference: Ask, error: Exception, *, raised: bool) -> Called:
    """What the calls of a check show that ended with `error`. asked: its questions. raised: by the last of them."""
    if isinstance(error, NotImplementedError | MemoryError | Fault) and not isinstance(error, Changed | NotData):
        return Called()  # what these say is all that there is to say
    told = carried(error)
    if not issubclass(getattr(builtins, told.base if told else "", Exception), Exception):
        return Called()  # sys.exit and its like, which come from a cage as a RuntimeError
    finding = error.finding if isinstance(error, Wrong) else None
    if finding and finding.kind not in _LOOKED_FOR:
        return Called()
    look = _LOOKED_FOR[finding.kind] if finding else () if isinstance(error, AssertionError) else _ALL
    kind = told.kind if told else name_of(type(error))
    for request in reversed(asked[-1 if raised else -_LOOKED_AT :]):
        again = msgspec.structs.replace(request, calls=True)
        mine, right = _calls(attempt, again), _calls(reference, again)
        said = _first_other(mine, right, look), _raising(mine, kind), _writing(mine, right)
        found = Called(*(piece[:_LONGEST] for piece in said))
        if found != Called():
            return found
    return Called()


def explained(told: Told, called: Called) -> Told:
    """What a learner is told of a failure, with what the calls show of it."""
    if told.verdict is Verdict.ERROR and not told.lines and called.other:
        return Told(Verdict.WRONG, f"wrong kind of result: {called.other}", Finding(kind="form"))
    if told.finding is None and called.wrote and told.verdict is Verdict.WRONG:
        return msgspec.structs.replace(told, message=f"{called.wrote}; inputs must be left as they were")
    said = told.message
    if called.raised and told.verdict is Verdict.ERROR:
        said += f"\n  in the call {called.raised}"
    if called.other and called.other not in said:
        said += f"\n  {called.other}"
    return msgspec.structs.replace(told, message=said)


def _calls(ask: Ask, request: Request) -> list[Call]:
    """What an answerer says of its calls: text for people, which is believed as little as any other answer."""
    with contextlib.suppress(msgspec.ValidationError):
        return msgspec.convert(ask(request), list[Call])
    return []


def _first_other(mine: Sequence[Call], right: Sequence[Call], look: Sequence[str]) -> str:
    for rank in sorted({call.rank for call in right}):
        pairs = zip(*([call for call in calls if call.rank == rank] for calls in (mine, right)), strict=False)
        for one, want in pairs:
            if one.name != want.name:
                break
            if not one.form or not want.form or (one.name.endswith(_OWN_FORM) and one.form.kind == want.form.kind):
                continue
            said = _other(one.form, want.form, look)
            if said:
                return f"{one.name} returned {said}"
    return ""


def _other(got: Form, want: Form, look: Sequence[str], at: str = "") -> str:
    """How a value is of another kind than the expected one, or nothing."""
    if _is_other(got, want, look):
        shown = (_said(one, "dtype" in look and got.kind == want.kind) for one in (got, want))
        return "; expected ".join(shown) + (f", at {at}" if at else "")
    for i, (one, right) in enumerate(zip(got.items, want.items, strict=False)):
        said = _other(one, right, look, f"{at}[{want.keys[i] if want.keys else i}]")
        if said:
            return said
    return ""


_SEQUENCES = ("tuple", "list")
_DATA = ("None", "tensor", "number", "array", "str", "dict", *_SEQUENCES)


def _is_other(got: Form, want: Form, look: Sequence[str]) -> bool:
    if got.kind in _SEQUENCES and want.kind in _SEQUENCES:
        return got.size != want.size and "tuple" in (got.kind, want.kind)
    if got.kind != want.kind:
        if {got.kind, want.kind} in ({"number", "tensor"}, {"number", "array"}) and got.shape == want.shape:
            return "number" in look
        return got.kind in _DATA or want.kind in _DATA  # of two objects each may have a class of its own
    if got.kind == "dict":
        return sorted(got.keys) != sorted(want.keys)
    return ("dtype" in look and got.dtype != want.dtype) or ("shape" in look and got.shape != want.shape)


def _said(form: Form, dtype: bool) -> str:
    match form.kind:
        case "None":
            return "None"
        case "tensor" | "array":
            kind = f"{form.dtype} {form.kind}" if dtype and form.dtype else form.kind
            return f"{_article(kind)} of shape {form.shape}"
        case "tuple" | "list":
            inner = ", ".join(_said(item, dtype) for item in form.items) if form.size <= len(form.items) <= 3 else ""
            return f"a {form.kind} of {form.size}" + (f" ({inner})" if inner else "")
        case "dict":
            return f"a dict with the keys {', '.join(form.keys)}" if form.keys else "an empty dict"
    return _article(form.kind)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _raising(mine: Sequence[Call], kind: str) -> str:
    """The call that ended with an exception of this kind: the last of all, and the first of its kind among ranks."""
    found = [call for call in mine if call.raised == kind]
    return f"{found[-1].name}({found[-1].given})" if found else ""


def _writing(mine: Sequence[Call], right: Sequence[Call]) -> str:
    """Which function wrote to an argument that the solution leaves alone."""
    allowed = {(call.name, call.wrote) for call in right}
    found = next((call for call in mine if call.wrote and (call.name, call.wrote) not in allowed), None)
    return f"{found.name} wrote to its argument '{found.wrote}'" if found else ""
