"""`submitted.json`: the folders from which the results of an out folder came, so that their texts are found again."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from grader.base.errors import HouseError
from grader.base.files import write_file


class _Folders(msgspec.Struct, frozen=True):
    folders: list[str]
    """As seen from the out folder: both may be moved together, or be mounted elsewhere in a container."""


def submitted_folders(out: Path) -> list[Path]:
    """The folders of submissions, the newest last; none where that is not known."""
    try:
        kept = msgspec.json.decode(_file(out).read_bytes(), type=_Folders)
    except (OSError, msgspec.DecodeError):
        return []
    return [(out / folder).resolve() for folder in kept.folders]


def keep_submitted(out: Path, folders: Iterable[Path]) -> None:
    """Remember that submissions came from these folders, too."""
    known = submitted_folders(out)
    new = [folder.resolve() for folder in folders]
    kept = [*(folder for folder in known if folder not in new), *dict.fromkeys(new)]
    if kept != known:
        with contextlib.suppress(HouseError, UnicodeEncodeError):  # nobody can write there, but read
            seen = [os.path.relpath(folder, out.resolve()) for folder in kept]
            write_file(_file(out), msgspec.json.encode(_Folders(seen)).decode() + "\n")


def _file(out: Path) -> Path:
    return out / "submitted.json"


def places_of(folders: Sequence[Path], student: str, exercise: str) -> list[Path]:
    """Where the file of a student may lie, the likeliest first."""
    return [place for folder in reversed(folders) if (place := folder / student / exercise).is_dir()]
