"""Whatever stands in a TOML file of the house, its reader gives a value or a sentence: never another exception."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader.audit.mutants import MutantFile, apply, read_mutants
from grader.bank.catalog import Coverage, House, _ExerciseFile, _keys, read_toml
from grader.base.errors import HouseError

ID = "dl_901_running_mean"
BANK = Path(__file__).parents[1] / "house"
FILES = {
    "exercise": (BANK / "exercises" / ID / "exercise.toml", _ExerciseFile),
    "coverage": (BANK / "exercises" / "coverage.toml", Coverage),
    "mutants": (BANK / "tests" / ID / "mutants.toml", MutantFile),
}
WHOLE = [(name, path.read_text(encoding="utf-8"), shape) for name, (path, shape) in FILES.items()]

# What TOML gives a meaning to, and what its readers have stumbled over.
PIECES = [
    "[", "]", "[[", "]]", "{", "}", "=", ".", ",", '"', "'", '"""', "\'\'\'", "#", "\\", "\n", "\r", "\t", "\0",
    "\ufeff", "é", "true", "inf", "-nan", "1e999999", "0x" + "f" * 40, "1979-05-27T07:32:00Z", "07:32:00", "2020-13-45",
    "[[part]]", "[limits]", "points = ", 'name = "x"', "part = 1", "a.b.c = 1", "-1", "1_000", "9" * 5000,
    "[" * 3000,
    '"\\ud800"', '"\\U00110000"', "[part.part]", "[[mutant]]", "code = \'\'\'def f(:\'\'\'", "item = []",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A file that is written anew for each example."""
    return tmp_path_factory.mktemp("toml") / "file.toml"


def read(place, raw, shape):
    """The value, or None for a refusal; any exception but HouseError fails the test."""
    place.write_bytes(raw)
    try:
        value = read_toml(place, shape)
    except HouseError as error:
        return str(error)
    assert isinstance(value, shape)
    return None


@st.composite
def mutated(draw):
    """One of the bank's files with a few accidents in it, and its shape."""
    _, text, shape = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = draw(st.integers(at, min(len(text), at + 60)))
        match draw(st.sampled_from(["cut", "put", "replace", "repeat", "move", "type"])):
            case "cut":
                text = text[:at] + text[end:]
            case "put":
                text = text[:at] + draw(st.sampled_from(PIECES)) + text[at:]
            case "replace":
                text = text[:at] + draw(st.text(max_size=5)) + text[end:]
            case "repeat":
                text = text[:end] + text[at:]
            case "move":
                text = text[:at] + text[end:] + text[at:end]
            case "type":  # a value of another type in the place of one
                lines = text.splitlines()
                numbers = [i for i, line in enumerate(lines) if " = " in line]
                if numbers:
                    i = draw(st.sampled_from(numbers))
                    put = draw(st.sampled_from(PIECES))
                    lines[i] = lines[i].split(" = ")[0] + f" = {put}"
                    text = "\n".join(lines)
    return text, shape


@given(mutated())
@settings(max_examples=300)
def test_a_mutated_file_gives_a_value_or_a_sentence(place, case):
    text, shape = case
    said = read(place, text.encode("utf-8", "surrogatepass"), shape)
    assert said is None or (said.startswith(str(place)) and said.endswith((".", "?")))


@given(st.binary(max_size=80), st.sampled_from(WHOLE), st.integers(0, 500))
@settings(max_examples=200)
def test_bytes_in_the_middle_of_a_file_give_a_value_or_a_sentence(place, raw, whole, at):
    _, text, shape = whole
    text = text.encode()
    read(place, text[:at] + raw + text[at:], shape)


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.sampled_from(WHOLE))
@settings(max_examples=150)
def test_any_text_gives_a_value_or_a_sentence(place, text, whole):
    read(place, text.encode("utf-8", "surrogatepass"), whole[2])


KEYS = {name: sorted(_keys(shape)) for name, (_, shape) in FILES.items()}
scalars = st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=9) | st.datetimes()


def tables(keys):
    """A table of some of these keys, with anything in them that TOML can say."""
    inner = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=12
    )
    return st.dictionaries(keys, inner, max_size=8)


TABLES = {name: tables(st.sampled_from(keys)) for name, keys in KEYS.items()}


def written(value):
    """A value as TOML writes it, on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {written(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
        case bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case float() | int():
            return repr(value)
    return value.isoformat()


@given(st.data(), st.sampled_from(sorted(FILES)))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_known_keys_with_unfit_values_give_a_value_or_a_sentence(place, data, name):
    table = data.draw(TABLES[name])
    text = "".join(f"{key} = {written(value)}\n" for key, value in table.items())
    read(place, text.encode(), FILES[name][1])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a = " + b"[" * 100_000, "is not valid TOML"),
        (b"a = " + b"{a=" * 5_000, "is not valid TOML"),
        (b"revision = " + b"9" * 5_000, "is not valid TOML"),
        (b"revision = 1e99999", "Expected `int`"),
        (b"title = 2020-13-45", "is not valid TOML"),
        ("title = 'a'".encode("utf-16"), "is not valid TOML"),
        (b"\xef\xbb\xbftitle = 'a'", "is not valid TOML"),
        (b"title = '\xff'", "is not valid TOML"),
        (b"title = 'a'\0", "is not valid TOML"),
        (b"title = 'a'\ntitle = 'b'", "is not valid TOML"),
        (b"[part]\nname = 'x'", "Expected `array`"),
        (b"['a`b']\n", "unknown field"),
        (b"", "missing required field"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_readers_stumble_over_is_refused(place, raw, said):
    assert said in read(place, raw, _ExerciseFile)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(HouseError, match="cannot be read"):
        read_toml(tmp_path, _ExerciseFile)


@given(mutated())
@settings(max_examples=150)
def test_a_house_whose_exercise_was_damaged_says_so(tmp_path_factory, case):
    text, shape = case
    if shape is not _ExerciseFile:
        return
    root = tmp_path_factory.mktemp("house")
    (root / "exercises" / ID).mkdir(parents=True)
    (root / "exercises" / ID / "exercise.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        exercise = House(root).exercises[ID]
    except HouseError:
        return
    for part in exercise.parts:
        assert exercise.part(part.name)


@given(mutated())
@settings(max_examples=200)
def test_mutants_that_were_damaged_apply_or_say_why(place, case):
    text, shape = case
    if shape is not MutantFile:
        return
    place.write_bytes(text.encode("utf-8", "surrogatepass"))
    solution = (BANK / "solutions" / ID / "running_mean.py").read_text(encoding="utf-8")
    try:
        found = read_mutants(place)
    except HouseError:
        return
    for change in (*found.mutant, *found.right):
        try:
            assert compile(apply(solution, change, place), "mutant", "exec")
        except HouseError as error:
            assert change.name in str(error)  # noqa: PT017  # most apply: there is nothing that must be raised
