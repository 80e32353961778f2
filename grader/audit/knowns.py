"""Are the known mistakes of the checks told apart by the inputs that they are looked for on?"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.audit.bench import Bench, Section
from grader.checks.knowns import Note, listener
from grader.judging.pool import Variant


def knowns(bench: Bench) -> Section:
    """Each known mistake differs from the right value, and on the first input where it does from all others."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "notes.jsonl")
        path.touch()
        listener.into(path)
        try:
            bench.judge([Variant("known mistakes", bench.solution)])
        finally:
            listener.into(None)
        notes = [msgspec.json.decode(line, type=Note) for line in path.read_bytes().splitlines()]
    by_mistake: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        by_mistake.setdefault((note.check, note.mistake), []).append(note)
    found = [said for said in map(_amiss, by_mistake.values()) if said]
    return list(dict.fromkeys(found)), f"{len(by_mistake)} known mistakes, each told apart from the others"


def _amiss(notes: Sequence[Note]) -> str:
    """What is wrong with one known mistake, on all the inputs that it was looked at on; empty if nothing is."""
    first = notes[0]
    here = f"{first.check}: the known mistake '{first.mistake}'"
    raised = next((note.raised for note in notes if note.raised), "")
    if raised:
        return f"{here} cannot be computed: {raised}"
    shown = next((note for note in notes if not note.right), None)
    if shown is None:
        return f"{here} is the right value on each input ({first.of}): no message can name it."
    if shown.twin:
        both = " and ".join(f"'{name}'" for name in sorted((first.mistake, shown.twin)))
        apart = "choose a first input that tells them apart"
        return f"{first.check}: the known mistakes {both} give the same ({shown.of}): {apart}."
    return ""
