"""A batch that several machines grade, and what may be put together."""

import msgspec
import pytest

from grader.base.errors import HouseError
from grader.records.results import Results, results_of
from grader.records.shards import Shard, ShardRun, merge, need_own_folder, one_batch, read_shard
from grader.verdicts.result import Result

STUDENTS = [f"student {number}" for number in range(400)]


def result(student="ann", exercise="dl_901", source="a", seed=3, **versions):
    more = {"source": source, "student": student, "versions": {"torch": "2", **versions}}
    return Result(exercise, 1, 100, 100, [], seed, "full", 1.0, **more)


@pytest.fixture
def graded(tmp_path):
    """Writes folders as `grader grade` leaves them: graded("a", results…), or graded("b", …, run=…) of a shard."""

    def write(name, *results, run=None):
        folder = tmp_path / name
        kept = Results(folder)
        for one in results:
            kept.add(one)
        if run:
            run.write(folder)
        return folder

    return write


def shard(number, of, seed=7, finished=True):
    return ShardRun(Shard(number, of), seed, finished)


def test_each_submission_is_one_shards():
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    having = [[one.number for one in shards if one.has(student, "dl_901")] for student in STUDENTS]
    assert all(len(numbers) == 1 for numbers in having)
    assert all(having.count([number]) > 100 for number in (1, 2, 3))
    again = [[one.number for one in shards if one.has(student, "dl_902")] for student in STUDENTS]
    assert again != having, "an exercise of many time-outs is not one machine's"


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "a/b", "1/0", "-1/4", "1/2/3", "1.0/2"])
def test_what_is_no_shard(text):
    with pytest.raises(ValueError, match="is no shard: write I/N"):
        read_shard(text)


def test_shards_become_one_batch_and_nothing_is_added_twice(graded, tmp_path):
    ann, bob, old = result("ann"), result("bob"), result("bob", source="b", torch="1")
    folders = [graded("1", ann, run=shard(1, 3)), graded("2", old, bob, run=shard(2, 3)), tmp_path / "3"]
    folders[2].mkdir()
    shard(3, 3).write(folders[2])  # a shard without a submission
    results = Results(tmp_path / "all")
    assert merge(one_batch(folders), results) == 2
    assert results_of(tmp_path / "all") == [ann, bob], "the newest of each"
    assert merge(one_batch(folders), Results(tmp_path / "all")) == 0

    again = result("ann", source="c")
    assert merge(one_batch([graded("4", again)]), Results(tmp_path / "all")) == 1
    assert results_of(tmp_path / "all") == [again, bob]


def test_a_line_is_taken_as_it_is(graded, tmp_path):
    folder = graded("1", result())
    line = (folder / "results.jsonl").read_bytes()
    named = line.replace(b'"student"', b'"of_a_later_grader": 1, "student"')
    (folder / "results.jsonl").write_bytes(named + line[:40])  # and one that a crash cut short
    merge(one_batch([folder]), Results(tmp_path / "all"))
    assert (tmp_path / "all" / "results.jsonl").read_bytes() == named


@pytest.mark.parametrize(
    ("make", "says"),
    [
        ([shard(1, 3), shard(3, 3)], "No folder holds shard 2/3. Name the folders of all 3 shards"),
        ([shard(1, 2), shard(2, 2, finished=False)], r"1 is not finished: run its `grader grade` again"),
        ([shard(1, 2), shard(2, 2, seed=8)], "seed 7, and .*1 holds shard 2/2 with seed 8: they are not of one batch"),
        ([shard(1, 2), shard(2, 3)], "they are not of one batch"),
        ([shard(1, 2), shard(1, 2)], "both hold shard 1/2: leave one out"),
        ([shard(1, 2), None], "0 holds shard 1/2, and .*1 holds no shard: leave it out"),
        ([None, shard(1, 2)], "1 holds shard 1/2, and .*0 holds no shard: leave it out"),
    ],
)
def test_what_are_not_all_shards_of_one_batch(graded, tmp_path, make, says):
    folders = [graded(str(number), result(f"s{number}"), run=run) for number, run in enumerate(make)]
    with pytest.raises(HouseError, match=says):
        one_batch(folders)


def test_a_folder_is_one_shards(tmp_path):
    need_own_folder(Shard(1, 2), tmp_path / "not there yet")
    shard(1, 2).write(tmp_path)
    need_own_folder(Shard(1, 2), tmp_path)
    for other in (Shard(2, 2), Shard(1, 3)):
        with pytest.raises(HouseError, match=f"holds shard 1/2. Give shard {other} an --out folder of its own"):
            need_own_folder(other, tmp_path)
    (tmp_path / "shard.json").write_text("{")
    need_own_folder(Shard(2, 2), tmp_path)  # `merge` says of such a folder: grade that shard again


def test_what_was_judged_by_two_versions(graded, tmp_path):
    folders = [graded("1", result("ann")), graded("2", result("bob", torch="3"))]
    with pytest.raises(HouseError, match=r"dl_901 was not judged by the same versions: 'torch' is 2 in .*1, and 3 in"):
        one_batch(folders)


def test_a_student_with_two_files(graded, tmp_path):
    with pytest.raises(HouseError, match=r"ann handed in two files for dl_901: .*Grade the one that counts"):
        one_batch([graded("1", result()), graded("2", result(source="b"))])
    same = [graded("3", result(seed=4)), graded("4", result(seed=5))]
    assert merge(one_batch(same), Results(tmp_path / "all")) == 1
    assert merge(one_batch(same), Results(tmp_path / "all")) == 0


def test_what_cannot_be_read(graded, tmp_path):
    with pytest.raises(HouseError, match=r"nowhere.*results\.jsonl is missing"):
        one_batch([tmp_path / "nowhere"])
    (tmp_path / "file").touch()
    with pytest.raises(HouseError, match=r"file/results\.jsonl cannot be read: Not a directory\.$"):
        one_batch([tmp_path / "file"])
    folder = graded("1", result())
    (folder / "shard.json").write_text("{")
    with pytest.raises(HouseError, match=r"shard\.json cannot be read: .* Grade that shard again"):
        one_batch([folder])
    (folder / "shard.json").write_bytes(msgspec.json.encode({"shard": 1}))
    with pytest.raises(HouseError, match="cannot be read"):
        one_batch([folder])
