"""A learner's file: read, saved over no other text than the one that was meant, and watched. Nothing of it is lost."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from grader.bank.catalog import Exercise, House
from grader.bank.derived import stub_of
from grader.base.errors import HouseError
from grader.base.files import LARGEST_FILE, digest, read_file, reason, replace_file
from grader.learner import desk
from grader.learner.saved import Look
from grader.records.progress import Progress
from grader.serve.wire import GONE, DiskFile, Save

_BOM = b"\xef\xbb\xbf"


def on_disk(exercise: Exercise) -> DiskFile:
    """The file as it stands, or why it cannot be shown."""
    path = exercise.attempt
    try:
        _need_inside(exercise)
        data = read_file(path)
    except FileNotFoundError:
        return DiskFile(state="gone", text="", hash=GONE, stub=False, why=f"{path.name} is not there.")
    except (OSError, HouseError) as error:
        return _unreadable(str(error), f"{path.name} cannot be read: {reason(error)}.")
    try:
        text = data.removeprefix(_BOM).decode()
    except UnicodeDecodeError:
        return _unreadable(hashlib.sha256(data).hexdigest(), f"{path.name} is not UTF-8 text.")
    return DiskFile(state="there", text=text, hash=digest(text), stub=_is_stub(exercise, text))


def save(house: House, exercise: Exercise, began: str, asked: Save) -> tuple[bool, DiskFile]:
    """Write a text over the one of hash `began`, and over no other: whether it was, and what is on disk now.

    Raises HouseError, ProgressError: then the file is as it was.
    """
    if len(asked.text.encode()) > LARGEST_FILE:
        raise HouseError(f"A file of more than {LARGEST_FILE:,} bytes is not saved, for it is not graded either.")
    disk = on_disk(exercise)
    if disk.hash != began or disk.state == "unreadable":
        if asked.leaving and digest(asked.text) != disk.hash:
            keep(house, exercise, asked.text)
        return False, disk
    if asked.overrules and disk.state == "there":
        keep(house, exercise, disk.text)
    if digest(asked.text) == disk.hash:
        return True, disk
    if not _replace(exercise, asked.text, lambda: on_disk(exercise).hash == began):
        return False, on_disk(exercise)
    return True, on_disk(exercise)


def keep(house: House, exercise: Exercise, text: str) -> int:
    """Put a text that is about to go into the history: its number there. Raises ProgressError."""
    progress = Progress(house.root)
    progress.note(exercise.id, "kept", text=text)
    return len(progress.history(exercise.id))


def reset(house: House, exercise: Exercise, part: str) -> DiskFile:
    """The stub again, of a part or of all; what was there is kept: beside the file, if it is no text.

    Raises HouseError.
    """
    disk = on_disk(exercise)
    if disk.state == "unreadable":
        _set_aside(exercise, disk)
    try:
        if part and disk.state == "there":
            desk.reset_part(house, exercise, exercise.part(part))
        else:
            desk.reset(house, exercise)
    except OSError as error:
        raise HouseError(f"{exercise.attempt.name} cannot be written: {reason(error)}.") from None
    return on_disk(exercise)


class Watched:
    """Files that are open in a page, looked at again and again: what somebody else writes is told.

    changed: gets the exercise, what a page knew and what is on disk now. Events of the file system are not used: they
    fail on WSL and NFS.
    """

    def __init__(self, changed: Callable[[Exercise, DiskFile, DiskFile], None]) -> None:
        self._changed = changed
        self._files: dict[str, _File] = {}

    def watch(self, exercise: Exercise, disk: DiskFile) -> None:
        """Watch it from now on; what is on disk was told to who asked first."""
        self._files.setdefault(exercise.id, _File(exercise, disk, Look()))

    def know(self, exercise: Exercise, disk: DiskFile) -> None:
        """The page itself wrote this, and told it."""
        self.watch(exercise, disk)
        self._files[exercise.id].known = disk

    def look(self) -> None:
        """Look once at each."""
        for one in self._files.values():
            if one.look.is_new(one.exercise.attempt):
                before, one.known = one.known, on_disk(one.exercise)
                if one.known.hash != before.hash:
                    self._changed(one.exercise, before, one.known)


class _File(msgspec.Struct):
    """A file that is open in a page."""

    exercise: Exercise
    known: DiskFile
    """What was told last."""
    look: Look


def _replace(exercise: Exercise, text: str, unchanged: Callable[[], bool]) -> bool:
    """Write beside the file, and move into place if it is still what it was: whether it was. Raises HouseError."""
    path = exercise.attempt
    _need_inside(exercise)
    try:
        mode, bom = _form_of(path)
        return replace_file(path, bom + text.encode(), mode, unchanged)
    except OSError as error:
        raise HouseError(f"{path.name} cannot be written: {reason(error)}. The text was not saved.") from None


def _form_of(path: Path) -> tuple[int | None, bytes]:
    """The mode of a file and its byte order mark, which stay as they are; of none there is neither."""
    try:
        with path.open("rb") as file:
            return stat.S_IMODE(os.fstat(file.fileno()).st_mode), file.read(3) if file.peek(3)[:3] == _BOM else b""
    except FileNotFoundError:
        return None, b""


def _set_aside(exercise: Exercise, disk: DiskFile) -> None:
    """Move what is no text out of the way, under a name that is free. Raises HouseError."""
    path = exercise.attempt
    _need_inside(exercise)
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.{number}.kept")
        if not os.path.lexists(aside):
            break
    try:
        path.rename(aside)
    except OSError as error:
        raise HouseError(f"{disk.why} It cannot be moved away: {reason(error)}.") from None


def _need_inside(exercise: Exercise) -> None:
    """Raises HouseError where the folder of the file is a link that leads out of the house."""
    if not exercise.attempt.parent.resolve().is_relative_to(exercise.root.resolve()):
        raise HouseError("its folder is a link out of the house")


def _unreadable(what: str, why: str) -> DiskFile:
    return DiskFile(state="unreadable", text="", hash=digest(f"unreadable: {what}"), stub=False, why=why)


def _is_stub(exercise: Exercise, text: str) -> bool:
    try:
        return text == stub_of(exercise)
    except HouseError:
        return False
