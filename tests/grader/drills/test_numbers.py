from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.drills.units import UNITS, read, written
from grader.drills.value import Unread, value_of

BYTES = [
    ("524288", 524288), ("2*32*32*128*2", 524288), ("2^19", 524288), ("2**19 B", 524288), ("524,288", 524288),
    ("524 288", 524288), ("1 048 576", 1048576), ("14 GiB", 15032385536), ("14GB", 14 * 10**9), ("512 KiB", 524288),
    ("0.5 MB", 500000), ("8 bits", 1), ("1.5e3 GB", 1.5e12), ("6.74 B", 6.74), ("2·3×4 − 4", 20), ("2³⁰", 2**30),
    ("= 5", 5), ("7b", 7 * 10**9), ("512 kib", 524288), ("2gb", 2 * 10**9), ("0.5M", 500000), ("4 bytes/token", 4),
    ("4 B per token", 4), ("3 gigabytes", 3 * 10**9), ("2x10^9", 2 * 10**9), ("2 x 3 GB", 6 * 10**9), ("8Ki", 8192),
]  # fmt: skip
PLAIN = [
    ("1/3", 1 / 3), ("7b", 7 * 10**9), ("6.74 B", 6.74e9), ("33 %", 0.33), ("5 k", 5000), (" - 3", -3),
    ("(1-0.75**8)/(1-.75)", 3.59954833984375), ("-2^2", -4), ("2**-3", 0.125), ("½", 0.5), ("7 // 2 + 7 % 4", 6),
    ("3 x", 3), ("sqrt(2)", 2**0.5), ("√2", 2**0.5), ("np.sqrt(2)", 2**0.5), ("3×", 3), ("3-fold", 3), ("3 times", 3),
    ("ln(1)", 0), ("log2(8)", 3), ("e^0", 1), ("exp(0)", 1), ("pi", 3.141592653589793), ("ceil(7/2)", 4),
    ("7 million", 7 * 10**6), ("12.5 percent", 0.125), ("(1-0.001)**5000", 0.999**5000),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "meant"), BYTES)
def test_bytes_are_read(typed, meant):
    assert read(typed, "B") == meant


@pytest.mark.parametrize(("typed", "meant"), PLAIN)
def test_plain_numbers_are_read(typed, meant):
    assert read(typed) == meant


@pytest.mark.parametrize(
    ("typed", "asked", "said"),
    [
        ("1,5", "", "Write a point for decimals: 1.5"),
        ("1,23,456", "", "A comma only stands between thousands"),
        ("nan", "", "'nan' is no number"),
        ("Infinity", "", "'Infinity' is no number"),
        ("1e400", "", "larger than 10^40"),
        ("9**9**9", "", "larger than 10^40"),
        ("10**60", "", "larger than 10^40"),
        ("(10**40)**64", "", "larger than 10^40"),
        ("abs(3)", "", "'abs' is not known"),
        ('__import__("os")', "", "cannot be read"),
        ("(3).real", "", "cannot be read"),
        ("٣", "", "cannot be read"),
        ("((((1", "", "A bracket ')' is missing"),
        ("(" * 119 + "1", "", "A bracket ')' is missing"),
        ("1" * 121, "", "121 characters; write at most 120"),
        ("1/0", "", "divides by 0"),
        ("(-2)**0.5", "", "root of a negative"),
        ("sqrt(-1)", "", "root of a negative"),
        ("", "", "Write a number"),
        ("1 2", "", "'2' is not expected"),
        ("5 s", "B", "'s' measures s; asked is B"),
        ("5 GiB", "", "'GiB' measures B; asked is a number without a unit"),
        ("14Gib", "B", "is it GiB?"),
        ("14 Gb", "B", "is it GB?"),
        ("2 TFLOPS", "FLOP", "'TFLOPS' measures FLOP/s; asked is FLOP"),
        ("80 GB / 2", "B", "Write the unit once, at the end: here 'GB' stands within the number"),
        ("0x10", "", "Write the unit once"),
        ("log(8)", "", "write ln, log2 or log10"),
        ("ln(0)", "", "ln(0) is no number here"),
        ("exp(99999)", "", "larger than 10^40"),
        ("2(3+4)", "", "Write a * between what is multiplied"),
        ("1½", "", "Write a * between what is multiplied"),
        ("12d^2", "", "'d' is not known"),
        ("5 m", "s", "write min or ms"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(typed, asked, said):
    with pytest.raises(Unread) as caught:
        read(typed, asked)
    assert said in str(caught.value)


def test_a_number_without_a_unit_is_in_the_one_asked_for():
    assert read("70", "ms") == 70
    assert read("0.07 s", "ms") == pytest.approx(70)
    assert read("33", "%") == 33
    assert read("0.5 x", "%") == 50
    assert read("3 G", "GB") == 3


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("16 FLOPs per byte", "FLOP/B"), ("16 flop/byte", "FLOP/B"), ("16 tflops", "TFLOP/s"), ("16 flops", "FLOP"),
        ("16 sec", "s"), ("16 milliseconds", "ms"), ("16 GPUs", "gpus"), ("16 bits per weight", "bit"),
        ("16 token", "tokens"), ("16 tokens/step", "tokens"), ("0.000016 million parameters", "parameters"),
    ],
)  # fmt: skip
def test_units_as_people_write_them(typed, asked):
    assert read(typed, asked) == pytest.approx(16)


def test_whole_numbers_stay_whole():
    assert isinstance(read("14 GiB", "B"), int)
    assert isinstance(value_of("2**40 - 7 * 3"), int)


def test_names_stand_for_values():
    assert value_of("past + i + 1", {"past": 7, "i": 2}) == 10
    with pytest.raises(Unread, match="the names here are past"):
        value_of("pst", {"past": 7})


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_written_is_read_again(unit):
    for value in (524288, 12.5, 0.0625):
        assert read(written(value, unit), unit) == pytest.approx(value)


def test_numbers_as_people_read_them():
    assert [written(524288, "B"), written(126882.4, "tokens"), written(3.59995), written(1.5e-7, "s")] == [
        "524,288 B", "126,900 tokens", "3.6", "1.5e-07 s",
    ]  # fmt: skip


@given(st.text(st.sampled_from("0123456789.,+-*/^()eE %GiBks_×²√nai\n") | st.characters(), max_size=130))
def test_whatever_is_typed_is_a_finite_number_or_refused_in_a_sentence(typed):
    for asked in ("", "B", "ms", "%", "tokens"):
        with suppress(Unread):
            assert abs(read(typed, asked)) <= 1e60
