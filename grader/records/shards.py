"""A batch that several machines grade: each takes a shard, and what they wrote becomes the results of one batch."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from grader.base.errors import HouseError
from grader.base.files import write_file
from grader.base.seeds import derive
from grader.records.results import Kept, Results, brief, results_of, whole_lines
from grader.verdicts.result import Result
from grader.verdicts.versions import difference

_ANY = 0
"""The seed by which submissions are dealt out: the same on each machine, whatever the batch's own."""


class Shard(msgspec.Struct, frozen=True):
    """One share of a batch: the `number`th, from 1, of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, student: str, exercise: str) -> bool:
        """Whether it is this shard's. Each submission is one shard's, on every machine the same one."""
        return derive(_ANY, f"{student}/{exercise}") % self.of == self.number - 1


def read_shard(text: str) -> Shard:
    """`2/4` as a shard. Raises ValueError."""
    number, _, of = text.partition("/")
    try:
        shard = Shard(int(number), int(of))
    except ValueError:
        shard = Shard(0, 0)
    if not 1 <= shard.number <= shard.of:
        raise ValueError(f"'{text}' is no shard: write I/N, as 1/4 to 4/4 for four machines")
    return shard


class ShardRun(msgspec.Struct, frozen=True):
    """What a folder says of the shard in it (`shard.json`), so that `merge` knows whether it has all of them."""

    shard: Shard
    seed: int
    finished: bool

    def write(self, folder: Path) -> None:
        write_file(_file(folder), msgspec.json.encode(self).decode() + "\n")


def need_own_folder(shard: Shard, folder: Path) -> None:
    """Raises HouseError where a folder holds another shard: it can say of one alone that it is there, and finished."""
    try:
        run = _run_of(folder)
    except HouseError:  # what cannot be read is written anew
        return
    if run and run.shard != shard:
        raise HouseError(f"{folder} holds shard {run.shard}. Give shard {shard} an --out folder of its own.")


def forget_shard(folder: Path) -> None:
    """Of a folder that holds a whole batch from now on."""
    with contextlib.suppress(OSError):  # never there; or nobody can write there, which is said where it is tried
        _file(folder).unlink()


def _file(folder: Path) -> Path:
    return folder / "shard.json"


def _run_of(folder: Path) -> ShardRun | None:
    """What a folder says of its shard; None if it holds the results of a whole batch."""
    path = _file(folder)
    try:
        return msgspec.json.decode(path.read_bytes(), type=ShardRun)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise HouseError(f"{path} cannot be read: {why}. Grade that shard again.") from None


class Batch(msgspec.Struct, frozen=True):
    """What folders hold together."""

    folders: list[Path]
    counts: Kept


def one_batch(folders: Sequence[Path]) -> Batch:
    """What the folders hold. Writes nothing.

    Raises HouseError where they are not one batch: a shard is missing or not finished, the seeds or the versions
    differ, a student handed in two files.
    """
    runs = [(folder, _run_of(folder)) for folder in folders]
    _need_all(runs)
    full = [folder for folder, run in runs if not run or (folder / "results.jsonl").exists()]  # a shard may be empty
    return Batch(full, _of_one_batch({folder: results_of(folder, brief) for folder in full}))


def merge(batch: Batch, results: Results) -> int:
    """Add to `results` what a batch holds and it does not; how many were added."""
    new = {key: result for key, result in batch.counts.items() if results.of(*key) != result}
    for folder in batch.folders:
        results.add_lines(_taken(new, folder))
    return len(new)


def _taken(new: Kept, folder: Path) -> Iterator[tuple[bytes, Result]]:
    """The lines of a folder that are new."""
    for line, result in whole_lines(folder / "results.jsonl"):
        if brief(result) == new.get((result.student, result.exercise)):
            yield line, result


def _need_all(runs: Sequence[tuple[Path, ShardRun | None]]) -> None:
    """Raises HouseError where these are not all shards of one batch; folders that are no shards need nothing."""
    shards = [(folder, run) for folder, run in runs if run]
    if not shards:
        return
    first, run = shards[0]
    for folder, other in runs:
        if other is None:
            raise HouseError(f"{first} holds shard {run.shard}, and {folder} holds no shard: leave it out.")
        if (other.shard.of, other.seed) != (run.shard.of, run.seed):
            raise HouseError(
                f"{first} holds shard {run.shard} with seed {run.seed}, and {folder} holds shard {other.shard} with "
                f"seed {other.seed}: they are not of one batch."
            )
        if not other.finished:
            raise HouseError(f"{folder} is not finished: run its `grader grade` again, which goes on.")
    there: dict[int, Path] = {}
    for folder, other in shards:
        if twin := there.get(other.shard.number):
            raise HouseError(f"{twin} and {folder} both hold shard {other.shard}: leave one out.")
        there[other.shard.number] = folder
    missing = [str(Shard(number, run.shard.of)) for number in range(1, run.shard.of + 1) if number not in there]
    if missing:
        raise HouseError(f"No folder holds shard {', '.join(missing)}. Name the folders of all {run.shard.of} shards.")


def _of_one_batch(found: Mapping[Path, Sequence[Result]]) -> Kept:
    """The results that count. Raises HouseError where two versions judged an exercise, or a student has two files."""
    versions: dict[str, tuple[Path, dict[str, str]]] = {}
    counts: dict[tuple[str, str], tuple[Path, Result]] = {}
    for folder, results in found.items():
        for result in results:
            other, theirs = versions.setdefault(result.exercise, (folder, result.versions))
            if theirs != result.versions:
                raise HouseError(_differ(result.exercise, other, theirs, folder, result.versions))
            other, first = counts.setdefault((result.student, result.exercise), (folder, result))
            if first.source != result.source:
                raise HouseError(
                    f"{result.student} handed in two files for {result.exercise}: one is graded in {other}, another in "
                    f"{folder}. Grade the one that counts, and leave out the other."
                )
    return {key: result for key, (_, result) in counts.items()}


def _differ(exercise: str, one: Path, ones: dict[str, str], other: Path, others: dict[str, str]) -> str:
    """A sentence for the first version that differs."""
    name, its, others_ = difference(ones, others)
    return (
        f"{exercise} was not judged by the same versions: '{name}' is {its} in {one}, and {others_} in {other}. "
        "Grade again with one version."
    )
