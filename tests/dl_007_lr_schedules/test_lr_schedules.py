"""Hidden checks of dl_007: oracles are fractions, squared half-angles, a walk over cycles, a series at a glance."""

import math
from fractions import Fraction

import pytest

from grader.checks import agree, part, refusal

from . import drivers

FAR = 10**12


def half(x):
    """Half a cosine from 1 at x = 0 to 0 at x = 1, by the half-angle: exact at both ends."""
    return 0.0 if x == 1 else math.cos(math.pi * x / 2) ** 2


def line(a, b, step, count):
    """From a to b in `count` steps, in fractions."""
    return float(Fraction(a) + (Fraction(b) - Fraction(a)) * Fraction(step, count))


def to_floor(floor, left):
    return floor + (1 - floor) * left


def shown(steps):
    steps = list(steps)
    if len(steps) > 2 and steps == list(range(steps[0], steps[0] + len(steps))):
        return f"steps {steps[0]:,} to {steps[-1]:,}"
    if len(steps) > 6:
        return f"{len(steps)} steps in any order"
    return "steps " + ", ".join(f"{step:,}" for step in steps)


def written(value):
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else repr(value)


def hold(attempt, name, steps, want, known=None, args=(), **options):
    """Hold the factors of these steps. want, and each known mistake: a function of the step."""
    steps = list(steps)
    said = [*map(written, args), *(f"{key}={written(value)}" for key, value in options.items())]
    agree(
        attempt.each(name, [(step, *args) for step in steps], **options),
        [float(want(step)) for step in steps],
        of=f"{name}({', '.join(['step', *said])}) at {shown(steps)}",
        known={mistake: (lambda f=f: [float(f(step)) for step in steps]) for mistake, f in (known or {}).items()},
    )


def jumbled(draw, steps):
    """These steps in any order, some of them twice."""
    steps = list(steps)
    steps += [draw.pick(steps) for _ in range(len(steps) // 2)]
    draw.random.shuffle(steps)
    return steps


# --- warmup -----------------------------------------------------------------------------------------------------------


@part("warmup")
def test_warmup_by_hand(attempt):
    """With w = 4 the factors are 0, 1/4, 1/2, 3/4, and 1 from step 4 on."""
    hold(attempt, "warmup", range(8), lambda s: [0, 0.25, 0.5, 0.75, 1, 1, 1, 1][s], args=(4,), known={
        "(step + 1) / w": lambda s: min(1, (s + 1) / 4),
        "step / (w - 1), at the peak a step early": lambda s: min(1, s / 3),
        "step / (w + 1), at the peak a step late": lambda s: min(1, s / 5),
        "a line that goes on above 1": lambda s: s / 4,
        "the fraction squared": lambda s: min(1, s / 4) ** 2,
        "the fraction to the power of 4": lambda s: min(1, s / 4) ** 4,
        "half a cosine in the place of a line": lambda s: 1 - half(min(1, s / 4)),
        "no warm-up": lambda s: 1,
        "a line down": lambda s: 1 - min(1, s / 4),
        "0 after the warm-up": lambda s: s / 4 if s < 4 else 0,
    })  # fmt: skip


@part("warmup")
def test_warmup_from_a_start(attempt):
    """From start = 1/4 with w = 3 the factors are 1/4, 1/2, 3/4, 1."""
    hold(attempt, "warmup", range(6), lambda s: [0.25, 0.5, 0.75, 1, 1, 1][s], args=(3, 0.25), known={
        "start left out": lambda s: min(1, s / 3),
        "start as a lower bound": lambda s: max(0.25, min(1, s / 3)),
        "start added, and cut at 1": lambda s: min(1, 0.25 + s / 3),
        "start added, and not cut": lambda s: 0.25 + min(1, s / 3),
        "start added as steps": lambda s: min(1, (s + 0.25) / 3),
        "the fraction scaled by 1 - start, start not added": lambda s: 0.75 * min(1, s / 3),
        "a geometric line": lambda s: 0.25 ** (1 - min(1, s / 3)),
    })  # fmt: skip


@part("warmup")
def test_warmup_of_any_length(attempt, draw):
    """A straight line from start to 1, for one step of warm-up as for many."""
    for w in (1, 2, draw.random.randrange(11, 40)):
        for start in (0.0, draw.random.uniform(0.05, 0.9), 1.0):
            hold(
                attempt,
                "warmup",
                range(w + 4),
                lambda s, w=w, start=start: line(start, 1, min(s, w), w),
                args=(w,),
                start=start,
            )


@part("warmup")
def test_no_warmup(attempt):
    """w = 0 is no warm-up: 1 at every step, step 0 too, whatever start is."""
    for start in (0.0, 0.3):
        hold(attempt, "warmup", range(4), lambda s: 1, args=(0, start))


@part("warmup")
def test_warmup_in_any_order(attempt, draw):
    """Steps in any order, again, and far away: a factor depends on the arguments alone."""
    w = 4 * FAR
    steps = jumbled(draw, [0, 1, FAR, 2 * FAR + 1, w - 1, w, w + 1, 10**15])
    hold(attempt, "warmup", steps, lambda s: line(0, 1, min(s, w), w), args=(w,))
    w = draw.random.randrange(5, 12)
    hold(attempt, "warmup", jumbled(draw, range(w + 3)), lambda s: line(0, 1, min(s, w), w), args=(w,))


# --- decay ------------------------------------------------------------------------------------------------------------


@part("decay")
def test_decay_in_steps(attempt):
    """With period 3 the factor drops at steps 3, 6, 9."""
    hold(attempt, "decay", range(10), lambda s: 0.5 ** (s // 3), args=("step",), gamma=0.5, period=3, known={
        "a drop one step early": lambda s: 0.5 ** ((s + 1) // 3),
        "a drop one step late": lambda s: 0.5 ** (max(s - 1, 0) // 3),
        "no stairs: step / period not rounded down": lambda s: 0.5 ** (s / 3),
        "a drop at every step": lambda s: 0.5**s,
        "one drop alone": lambda s: 0.5 ** min(1, s // 3),
        "the drop taken off, not multiplied": lambda s: 1 - 0.5 * (s // 3),
        "1 / (1 + gamma · drops)": lambda s: 1 / (1 + 0.5 * (s // 3)),
        "1 - gamma for gamma ^ drops": lambda s: 0.5 * (s // 3),
    })  # fmt: skip


@part("decay")
def test_decay_at_milestones(attempt):
    """A milestone counts from its own step on; their order does not matter."""
    stones = [5, 2, 7]
    hold(
        attempt, "decay", range(9), lambda s: 0.5 ** sum(s >= m for m in stones), args=("multistep",), gamma=0.5,
        milestones=stones, known={
            "a milestone that counts a step late": lambda s: 0.5 ** sum(s > m for m in stones),
            "a milestone that counts a step early": lambda s: 0.5 ** sum(s + 1 >= m for m in stones),
            "the steps between milestones taken for milestones": lambda s: 0.5 ** sum(s >= m for m in (5, 7, 14)),
            "the first milestone alone": lambda s: 0.5 ** (s >= 5),
            "a drop at the milestones, and back to 1": lambda s: 0.5 ** (s in stones),
            "no drop after the second": lambda s: 0.5 ** min(2, sum(s >= m for m in stones)),
        },
    )  # fmt: skip


@part("decay")
def test_decay_at_milestones_that_repeat(attempt):
    """A milestone that is listed twice counts twice; without milestones, or before the first, the factor is 1."""
    stones = [3, 6, 3]
    hold(
        attempt, "decay", range(8), lambda s: 0.7 ** sum(s >= m for m in stones), args=("multistep",), gamma=0.7,
        milestones=stones, known={"each milestone once": lambda s: 0.7 ** sum(s >= m for m in {3, 6})},
    )  # fmt: skip
    hold(attempt, "decay", range(3), lambda s: 1, args=("multistep",), gamma=0.5, milestones=[])
    hold(attempt, "decay", range(3), lambda s: 0.5, args=("multistep",), gamma=0.5, milestones=[0])


@part("decay")
def test_decay_without_stairs(attempt):
    """The exponential falls by gamma in each period, and is smooth between."""
    hold(attempt, "decay", range(6), lambda s: 2.0**-s, args=("exponential",), gamma=0.25, period=2, known={
        "period left out": lambda s: 0.25**s,
        "stairs": lambda s: 0.25 ** (s // 2),
        "step · period": lambda s: 0.25 ** (2 * s),
        "exp(-gamma · step / period)": lambda s: math.exp(-0.25 * s / 2),
        "exp(-step / period)": lambda s: math.exp(-s / 2),
        "1 - gamma for gamma": lambda s: 0.75 ** (s / 2),
        "counted from 1": lambda s: 2.0 ** -(s + 1),
        "linear between the drops": lambda s: 0.25 ** (s // 2) * (1 - 0.75 * (s % 2) / 2),
    })  # fmt: skip


@part("decay")
def test_decay_on_a_line(attempt):
    """A line from 1 to floor at step n, and floor ever after."""
    hold(attempt, "decay", range(8), lambda s: max(0.25, 1 - 0.15 * s), args=("linear",), n=5, floor=0.25, known={
        "a line to 0 that is cut at floor": lambda s: max(0.25, 1 - s / 5),
        "floor left out": lambda s: max(0, 1 - s / 5),
        "a line that goes on below floor": lambda s: 1 - 0.15 * s,
        "floor reached a step early": lambda s: max(0.25, 1 - 0.75 * s / 4),
        "counted from 1": lambda s: max(0.25, 1 - 0.15 * (s + 1)),
        "floor added on top": lambda s: 0.25 + max(0, 1 - s / 5),
        "a line down to 0, and then floor": lambda s: 1 - s / 5 if s < 5 else 0.25,
        "0 after step n": lambda s: 1 - 0.15 * s if s <= 5 else 0,
    })  # fmt: skip


@part("decay")
def test_decay_of_any_size(attempt, draw):
    """Random rates, periods, milestones and floors, in any order; what a kind has no use for changes nothing."""
    gamma, floor = draw.random.uniform(0.3, 0.7), draw.random.uniform(0.4, 0.6)  # powers of gamma get below the floor
    period, n = draw.random.randrange(2, 6), draw.random.randrange(9, 17)
    stones = [draw.random.randrange(20) for _ in range(4)]
    given = {"gamma": gamma, "period": period, "n": n, "floor": floor, "milestones": stones}
    wants = {
        "step": lambda s: math.prod([gamma] * (s // period)),
        "multistep": lambda s: math.prod(gamma for m in stones if m <= s),
        "exponential": lambda s: math.exp(math.log(gamma) * s / period),
        "linear": lambda s: line(1, floor, min(s, n), n),
    }
    for kind, want in wants.items():
        hold(attempt, "decay", jumbled(draw, range(20)), want, args=(kind,), **given)


@part("decay")
def test_decay_of_many_drops(attempt, draw):
    """A long run: 90 milestones, 1,000 drops, periods of hundreds, in any order."""
    stones = [draw.random.randrange(5000) for _ in range(90)]
    steps = [draw.random.randrange(6000) for _ in range(200)]
    below = lambda s: 0.95 ** len([m for m in stones if m <= s])
    hold(attempt, "decay", steps, below, args=("multistep",), gamma=0.95, milestones=stones)
    hold(attempt, "decay", steps, lambda s: 0.99 ** (s // 6), args=("step",), gamma=0.99, period=6)
    hold(attempt, "decay", steps, lambda s: 0.3 ** (s / 700), args=("exponential",), gamma=0.3, period=700)
    hold(attempt, "decay", steps, lambda s: line(1, 0.1, min(s, 5500), 5500), args=("linear",), n=5500, floor=0.1)


@part("decay")
def test_decay_by_default(attempt):
    """Without options gamma is 0.1, period and n are 1, floor is 0 and there are no milestones."""
    for kind, want in {
        "step": lambda s: 10.0**-s,
        "exponential": lambda s: 10.0**-s,
        "multistep": lambda s: 1,
        "linear": lambda s: float(s < 1),
    }.items():
        hold(attempt, "decay", range(4), want, args=(kind,))


@part("decay")
def test_decay_far_away(attempt, draw):
    """At step 10¹² and beyond each drop lies on the step that it should lie on."""
    period = 10**17 + draw.random.randrange(3, 50)
    steps = jumbled(draw, [0, FAR, period - 1, period, 3 * period - 1, 3 * period, 7 * period + 5])
    hold(attempt, "decay", steps, lambda s: 0.5 ** (s // period), args=("step",), gamma=0.5, period=period)
    near = 1 - 1e-12
    for kind in ("step", "exponential"):
        want = lambda s: math.exp(s * math.log(near))
        hold(attempt, "decay", [FAR, 3 * FAR], want, args=(kind,), gamma=near)
    steps = jumbled(draw, [0, FAR - 1, FAR, FAR + 1, 3 * FAR, 3 * FAR + 1])
    hold(
        attempt, "decay", steps, lambda s: 0.5 ** ((s >= FAR) + (s >= 3 * FAR + 1)), args=("multistep",), gamma=0.5,
        milestones=[3 * FAR + 1, FAR],
    )  # fmt: skip
    steps = jumbled(draw, [0, FAR, 2 * FAR, 5 * FAR])
    want = {0: 1.0, FAR: 2**-0.5, 2 * FAR: 0.5, 5 * FAR: 2**-2.5}
    hold(attempt, "decay", steps, want.get, args=("exponential",), gamma=0.5, period=2 * FAR)
    want = {0: 1.0, FAR: 0.8, 2 * FAR: 0.6, 5 * FAR: 0.2}
    hold(attempt, "decay", steps, want.get, args=("linear",), n=4 * FAR, floor=0.2)


@part("decay")
@pytest.mark.parametrize("kind", ["polynomial", "Step", "zigzag", "", "exp", "exponentially"])
def test_decay_refuses_other_kinds(attempt, kind):
    """A kind that is not listed is a ValueError."""
    with refusal(ValueError, of=f"decay(3, {kind!r})"):
        attempt.decay(3, kind)


# --- cosine -----------------------------------------------------------------------------------------------------------


def cosine(step, n, w=0, floor=0.0):
    if step < w:
        return line(0, 1, step, w)
    return to_floor(floor, half(Fraction(step - w, n - w))) if step < n else floor


@part("cosine")
def test_cosine_by_hand(attempt):
    """With w = 2, n = 6, floor 0.2 the factors of steps 0, 2, 4, 6 are 0, 1, 0.6, 0.2; then 0.2 for ever."""

    def behind(f):
        """The right warm-up, and f behind it."""
        return lambda s: s / 2 if s < 2 else f(s)

    wave = lambda x: (1 + math.cos(math.pi * x)) / 2
    hold(attempt, "cosine", range(10), lambda s: cosine(s, 6, 2, 0.2), args=(6,), w=2, floor=0.2, known={
        "π · step / n, the warm-up not taken off": behind(lambda s: to_floor(0.2, wave(min(s, 6) / 6))),
        "π · (step - w) / n": behind(lambda s: to_floor(0.2, wave((s - 2) / 6)) if s < 6 else 0.2),
        "a cosine that rises again after step n": behind(lambda s: to_floor(0.2, wave((s - 2) / 4))),
        "the floor added, the height not reduced": behind(lambda s: 0.2 + wave(min(1, (s - 2) / 4))),
        "a cosine to 0 that is cut at floor": behind(lambda s: max(0.2, wave(min(1, (s - 2) / 4)))),
        "a cosine to 0, and then floor": behind(lambda s: wave((s - 2) / 4) if s < 6 else 0.2),
        "floor left out": behind(lambda s: wave(min(1, (s - 2) / 4))),
        "a quarter of a wave": behind(lambda s: to_floor(0.2, math.cos(math.pi / 2 * min(1, (s - 2) / 4)))),
        "a straight line": behind(lambda s: to_floor(0.2, 1 - min(1, (s - 2) / 4))),
        "0 after step n": behind(lambda s: cosine(s, 6, 2, 0.2) if s <= 6 else 0),
        "at the floor one step early": behind(lambda s: to_floor(0.2, wave(min(1, (s - 2) / 3)))),
        "(step + 1) / w in the warm-up": lambda s: cosine(s, 6, 2, 0.2) if s >= 2 else (s + 1) / 2,
        "a warm-up that begins at floor": lambda s: cosine(s, 6, 2, 0.2) if s >= 2 else 0.2 + 0.8 * s / 2,
        "no warm-up": lambda s: cosine(s, 6, 0, 0.2),
        "the cosine begins a step too late": behind(lambda s: to_floor(0.2, half(max(0, min(1, (s - 3) / 3))))),
    })  # fmt: skip


@part("cosine")
def test_cosine_of_a_course(attempt):
    """Peak 1, floor 0.1, 7 steps of warm-up, end at 21: the 25 numbers of Stanford's cs336, assignment 1."""
    want = [0, 1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1, 0.9887175604818206, 0.9554359905560885]
    want += [0.9018241671106134, 0.8305704108364301, 0.7452476826029011, 0.6501344202803414, 0.55]
    want += [0.44986557971965857, 0.3547523173970989, 0.26942958916356996, 0.19817583288938662]
    want += [0.14456400944391146, 0.11128243951817937, 0.1, 0.1, 0.1, 0.1]
    hold(attempt, "cosine", range(25), lambda s: want[s], args=(21,), w=7, floor=0.1)


@part("cosine")
def test_cosine_by_default(attempt):
    """Without options there is no warm-up and the floor is 0: step 0 has the full rate."""
    hold(attempt, "cosine", range(8), lambda s: [1, 0.75, 0.25, 0, 0, 0, 0, 0][s], args=(3,))


@part("cosine")
def test_cosine_of_any_size(attempt, draw):
    """Any warm-up, end and floor, in any order."""
    for _ in range(3):
        w, down = draw.random.randrange(1, 9), draw.random.randrange(10, 24)
        floor = draw.random.uniform(0.05, 0.5)
        steps = jumbled(draw, range(w + down + 4))
        want = lambda s, n=w + down, w=w, floor=floor: cosine(s, n, w, floor)
        hold(attempt, "cosine", steps, want, args=(w + down, w, floor))


@part("cosine")
def test_cosine_of_a_warmup_alone(attempt):
    """With w = n, and with n = 1, the factor after the end is floor, and nothing is divided by 0."""
    hold(attempt, "cosine", range(7), lambda s: s / 4 if s < 4 else 0.3, args=(4, 4, 0.3))
    hold(attempt, "cosine", range(4), lambda s: 0.3 if s else 1, args=(1, 0, 0.3))
    hold(attempt, "cosine", range(4), lambda s: 0.3 if s else 0, args=(1, 1, 0.3))


@part("cosine")
def test_cosine_keeps_the_floor(attempt):
    """Past the end the factor stays at floor, however far."""
    steps = [21, 22, 30, 41, 42, 63, 1000, FAR, FAR + 1]
    rises = lambda s: to_floor(0.1, (1 + math.cos(math.pi * (s - 5) / 16)) / 2)
    known = {"a cosine that goes on for ever": rises}
    hold(attempt, "cosine", steps, lambda s: 0.1, args=(21, 5, 0.1), known=known)


@part("cosine")
def test_cosine_far_away(attempt, draw):
    """A run of 4·10¹² steps is no other than one of 4: no loop over steps."""
    steps = jumbled(draw, [0, FAR // 2, FAR, FAR * 3 // 2, 2 * FAR, 3 * FAR, 4 * FAR, 9 * FAR])
    hold(attempt, "cosine", steps, lambda s: cosine(s, 4 * FAR, FAR, 0.1), args=(4 * FAR, FAR, 0.1))


# --- cosine_restarts --------------------------------------------------------------------------------------------------


def cycle(step, period, mult):
    """(place in its cycle, length of the cycle), by walking from restart to restart."""
    begin, length = 0, period
    if mult == 1:
        return step % period, period
    while begin + length <= step:
        begin, length = begin + length, length * mult
    return step - begin, length


def restarts(step, period, mult, floor=0.0):
    place, length = cycle(step, period, mult)
    return to_floor(floor, half(Fraction(place, length)))


def rounded_logarithm(step, period, mult):
    """The place in its cycle where the number of the cycle is a logarithm that is rounded down."""
    number = int(math.log(step / period * (mult - 1) + 1, mult))
    return (step - period * (mult**number - 1) / (mult - 1)) / (period * mult**number)


@part("cosine_restarts")
def test_restarts_by_hand(attempt):
    """With period 2 and mult 3 cycles begin at steps 0, 2 and 8, each with the factor 1."""
    wave = lambda x: to_floor(0.2, (1 + math.cos(math.pi * x)) / 2)

    def late(s):
        place, length = cycle(s - 1, 2, 3) if s else (-1, 2)
        return wave((place + 1) / length)

    def growing(s):  # lengths 2, 6, 10: 2 · (1, 3, 5)
        begin, length = next((b, n) for b, n in ((8, 10), (2, 6), (0, 2)) if s >= b)
        return wave((s - begin) / length)

    hold(attempt, "cosine_restarts", range(13), lambda s: restarts(s, 2, 3, 0.2), args=(2, 3, 0.2), known={
        "cycles that do not grow": lambda s: wave(s % 2 / 2),
        "the floor at the step of the restart": late,
        "cycles that grow by adding": lambda s: growing(s) if s < 12 else wave(4.5 / 10),
        "a whole wave in each cycle": lambda s: wave(2 * cycle(s, 2, 3)[0] / cycle(s, 2, 3)[1]),
        "one long cosine of the first period": lambda s: wave(s / 2),
        "floor left out": lambda s: restarts(s, 2, 3),
        "no restart": lambda s: wave(min(1, s / 2)),
        "the place divided by the first period": lambda s: wave(cycle(s, 2, 3)[0] / 2),
        "the floor reached in the last step of a cycle": lambda s: wave(cycle(s, 2, 3)[0] / (cycle(s, 2, 3)[1] - 1)),
        "straight lines": lambda s: to_floor(0.2, 1 - cycle(s, 2, 3)[0] / cycle(s, 2, 3)[1]),
        "a peak that falls with each restart": lambda s: restarts(s, 2, 3, 0.2) / 3 ** ((s >= 2) + (s >= 8)),
    })  # fmt: skip


@part("cosine_restarts")
def test_restarts_of_equal_length(attempt):
    """With mult 1, the default, each cycle has `period` steps, also the 10¹²-th."""
    hold(attempt, "cosine_restarts", range(11), lambda s: restarts(s, 5, 1), args=(5,))
    steps = [5 * FAR - 1, 5 * FAR, 5 * FAR + 2]
    hold(attempt, "cosine_restarts", steps, lambda s: restarts(s, 5, 1), args=(5,))
    hold(attempt, "cosine_restarts", range(4), lambda s: 1, args=(1,))


@part("cosine_restarts")
@pytest.mark.parametrize(("period", "mult"), [(7, 3), (1, 3), (10, 10), (3, 2), (11, 5), (6, 7)], ids=str)
def test_restarts_on_the_very_step(attempt, period, mult):
    """Each of the first 25 cycles begins with the factor 1 on exactly its step: 847 for the fifth restart of 7, ×3."""
    begins = [period * (mult**i - 1) // (mult - 1) for i in range(25)]
    steps = sorted({step for begin in begins for step in (begin - 1, begin, begin + 1) if step >= 0})
    want = lambda s: restarts(s, period, mult, 0.3)
    known = {}
    floored = lambda s: to_floor(0.3, (1 + math.cos(math.pi * rounded_logarithm(s, period, mult))) / 2)
    if any(abs(floored(s) - want(s)) > 1e-6 for s in steps):
        known = {"the number of the cycle as a logarithm that is rounded down": floored}
    hold(attempt, "cosine_restarts", steps, want, args=(period, mult, 0.3), known=known)


@part("cosine_restarts")
def test_restarts_of_any_size(attempt, draw):
    """Any period, mult and floor, in any order."""
    for mult in (1, 2, draw.random.randrange(3, 6)):
        period, floor = draw.random.randrange(2, 9), draw.random.uniform(0.05, 0.5)
        steps = jumbled(draw, range(3 * period * (1 + mult)))
        want = lambda s, p=period, m=mult, f=floor: restarts(s, p, m, f)
        hold(attempt, "cosine_restarts", steps, want, args=(period, mult, floor))


@part("cosine_restarts")
def test_restarts_far_away(attempt, draw):
    """Steps of 10¹², 10¹⁸ and 10³⁰ lie where integers put them."""
    steps = jumbled(draw, [FAR, 10**18, 10**18 + 7, 10**30, 3 * (2**60 - 1), 3 * (2**60 - 1) - 1])
    hold(attempt, "cosine_restarts", steps, lambda s: restarts(s, 3, 2, 0.1), args=(3, 2, 0.1))
    steps = jumbled(draw, [10**18, 10**18 + 3, 10**30 + 1])
    hold(attempt, "cosine_restarts", steps, lambda s: restarts(s, 7, 1), args=(7, 1))


# --- inverse_sqrt -----------------------------------------------------------------------------------------------------


def inverse_sqrt(step, w, timescale):
    return line(0, 1, step, w) if step < w else (1 + Fraction(step - w, timescale)) ** -0.5


@part("inverse_sqrt")
def test_inverse_sqrt_by_hand(attempt):
    """With w = 4 the factors are 0, 1/4, 1/2, 3/4, 1, and 1/2 at step 16, 1/4 at step 64."""
    steps = [*range(8), 9, 16, 36, 64]
    want = lambda s: s / 4 if s < 4 else 2 / math.sqrt(s)
    hold(attempt, "inverse_sqrt", steps, want, args=(4,), known={
        "1 / √step, the peak not 1": lambda s: s / 8 if s < 4 else s**-0.5,
        "√(w / (step + 1))": lambda s: s / 4 if s < 4 else math.sqrt(4 / (s + 1)),
        "w / step, without the root": lambda s: s / 4 if s < 4 else 4 / s,
        "1 / √(step - w + 1)": lambda s: s / 4 if s < 4 else (s - 3) ** -0.5,
        "no warm-up: √(w / max(step, w))": lambda s: math.sqrt(4 / max(s, 4)),
        "warm-up (step + 1) / w": lambda s: (s + 1) / 4 if s < 4 else 2 / math.sqrt(s),
        "no way down": lambda s: min(1, s / 4),
        "0 at step 0, then √(w / step)": lambda s: 2 / math.sqrt(s) if s else 0,
        "1 / √(step / w + 1)": lambda s: s / 4 if s < 4 else (s / 4 + 1) ** -0.5,
    })  # fmt: skip


@part("inverse_sqrt")
def test_inverse_sqrt_with_a_timescale(attempt):
    """With w = 4 and timescale 100 the factor is still 1 at step 4, and 1/2 three hundred steps later."""
    steps = [0, 3, 4, 5, 29, 104, 304, 1504]
    want = lambda s: s / 4 if s < 4 else 10 / math.sqrt(s + 96)
    hold(attempt, "inverse_sqrt", steps, want, args=(4, 100), known={
        "timescale left out": lambda s: s / 4 if s < 4 else 2 / math.sqrt(s),
        "√(timescale / (step + timescale)), the warm-up not taken off": lambda s: (
            s / 4 if s < 4 else 10 / math.sqrt(s + 100)
        ),
        "√(timescale / step), cut at 1": lambda s: s / 4 if s < 4 else min(1, 10 / math.sqrt(s)),
        "√(w / (step - w + timescale))": lambda s: s / 4 if s < 4 else 2 / math.sqrt(s + 96),
        "a warm-up as long as timescale": lambda s: s / 100 if s < 100 else 10 / math.sqrt(s),
        "no root": lambda s: s / 4 if s < 4 else 100 / (s + 96),
    })  # fmt: skip


@part("inverse_sqrt")
def test_inverse_sqrt_is_the_transformers(attempt):
    """For d = 512 and w = 4,000, factor / √(d·w) is d^-0.5 · min(t^-0.5, t · w^-1.5); its peak is 6.99e-4."""
    d, w = 512, 4000
    steps = [1, 2, 1000, 3999, 4000, 4001, 16000, 100_000]
    scale = (d * w) ** -0.5
    got = [scale * factor for factor in attempt.each("inverse_sqrt", [(step, w) for step in steps])]
    want = [d**-0.5 * min(step**-0.5, step * w**-1.5) for step in steps]
    of = f"inverse_sqrt(step, 4,000) / √(512 · 4,000) at {shown(steps)}"
    agree(got, want, of=of)
    agree(max(got), 6.99e-4, tol=1e-3, of=f"the largest of {of}")


@part("inverse_sqrt")
def test_inverse_sqrt_of_any_size(attempt, draw):
    """Any warm-up, also none, with any timescale, in any order."""
    for w in (0, 1, draw.random.randrange(3, 12)):
        timescale = draw.random.randrange(13, 60)
        steps = jumbled(draw, range(30))
        want = lambda s, w=w, t=timescale: inverse_sqrt(s, w, t)
        hold(attempt, "inverse_sqrt", steps, want, args=(w, timescale))
    for w in (1, 7):
        hold(attempt, "inverse_sqrt", jumbled(draw, range(20)), lambda s, w=w: inverse_sqrt(s, w, w), args=(w,))
    hold(attempt, "inverse_sqrt", jumbled(draw, range(20)), lambda s: inverse_sqrt(s, 5, 1), args=(5, 1))


@part("inverse_sqrt")
def test_inverse_sqrt_far_away(attempt, draw):
    """It has no end: 10¹² steps later the root still falls."""
    steps = jumbled(draw, [0, 5000, 10_000, FAR, 4 * FAR, 10**20])
    hold(attempt, "inverse_sqrt", steps, lambda s: inverse_sqrt(s, 10_000, 10_000), args=(10_000,))


@part("inverse_sqrt")
@pytest.mark.parametrize(("w", "timescale"), [(0, None), (0, 0), (5, 0), (5, -30), (0, -30)], ids=str)
def test_inverse_sqrt_refuses_no_timescale(attempt, w, timescale):
    """Without a positive timescale, or a warm-up to take it from, it is a ValueError."""
    for step in (9, 0):
        with refusal(ValueError, of=f"inverse_sqrt({step}, {w}, {timescale})"):
            attempt.inverse_sqrt(step, w, timescale)


# --- one_cycle --------------------------------------------------------------------------------------------------------


def one_cycle(step, top, last, rate=(0.04, 1.0, 4e-6), momentum=(0.95, 0.85, 0.95), ease=half):
    """(factor, momentum): three levels each, joined by pieces of half a cosine."""
    if step >= last:
        return rate[2], momentum[2]
    i, x = (0, step / top) if step <= top else (1, (step - top) / (last - top))
    return tuple(levels[i + 1] + (levels[i] - levels[i + 1]) * ease(x) for levels in (rate, momentum))


def hold_cycle(attempt, steps, want, n, known=None, **options):
    """Hold the factors, and then the momentum, of these steps."""
    steps, known = list(steps), known or {}
    got = attempt.each("one_cycle", [(step, n) for step in steps], **options)
    said = "".join(f", {key}={written(value)}" for key, value in options.items())
    right = [want(step) for step in steps]
    for i, name in enumerate(("factor", "momentum")):
        mistakes = {m: [f(s)[i] for s in steps] for m, f in known.items()}
        agree(
            [row[i] for row in got],
            [float(row[i]) for row in right],
            of=f"the {name} of one_cycle(step, {n:,}{said}) at {shown(steps)}",
            known={m: v for m, v in mistakes.items() if v != [row[i] for row in right]},
        )


@part("one_cycle")
def test_one_cycle_by_hand(attempt):
    """With n = 10 the peak is at step 2, the end at step 9; step 1 is half of the way up: 0.52, momentum 0.9."""
    hold_cycle(attempt, range(13), lambda s: one_cycle(s, 2, 9), 10, known={
        "straight lines": lambda s: one_cycle(s, 2, 9, ease=lambda x: 1 - x),
        "a peak at step rise · n": lambda s: one_cycle(s, 3, 9),
        "an end at step n": lambda s: one_cycle(s, 2, 10),
        "a climb from 0": lambda s: one_cycle(s, 2, 9, rate=(0, 1, 4e-6)),
        "an end as high as the start": lambda s: one_cycle(s, 2, 9, rate=(0.04, 1, 0.04)),
        "a momentum that moves with the rate": lambda s: one_cycle(s, 2, 9, momentum=(0.85, 0.95, 0.85)),
        "a momentum that stays high": lambda s: one_cycle(s, 2, 9, momentum=(0.95, 0.95, 0.95)),
        "a momentum that stays low after the peak": lambda s: one_cycle(s, 2, 9, momentum=(0.95, 0.85, 0.85)),
    })  # fmt: skip


@part("one_cycle")
def test_one_cycle_of_other_levels(attempt, draw):
    """start, end, low and high are the levels of factor and momentum, rise says where the peak is."""
    start, end = draw.random.uniform(0.1, 0.4), draw.random.uniform(0.01, 0.05)
    low, high = draw.random.uniform(0.5, 0.7), draw.random.uniform(0.8, 0.99)
    n = 40
    for rise in (0.25, 0.5, 0.75):
        top = rise * n - 1
        want = lambda s, top=top: one_cycle(s, top, n - 1, (start, 1.0, end), (high, low, high))
        options = {"rise": rise, "start": start, "end": end, "low": low, "high": high}
        hold_cycle(attempt, jumbled(draw, range(n + 3)), want, n, **options)


@part("one_cycle")
def test_one_cycle_with_a_peak_between_steps(attempt):
    """rise · n - 1 need not be whole: with n = 12 the peak is at step 2.6, and no step has the factor 1."""
    known = {
        "a peak that is rounded down": lambda s: one_cycle(s, 2, 11),
        "a peak that is rounded": lambda s: one_cycle(s, 3, 11),
    }
    hold_cycle(attempt, range(13), lambda s: one_cycle(s, 2.6, 11), 12, known=known)
    hold_cycle(attempt, range(8), lambda s: one_cycle(s, 0.8, 5), 6)
    hold_cycle(attempt, range(6), lambda s: one_cycle(s, 2.75, 4), 5, rise=0.75)


@part("one_cycle")
def test_one_cycle_after_its_end(attempt):
    """After step n - 1 the factor stays at end, the momentum at high."""
    hold_cycle(attempt, [9, 10, 11, 19, 20, 30, FAR], lambda s: (4e-6, 0.95), 10)


@part("one_cycle")
def test_one_cycle_far_away(attempt, draw):
    """A cycle of 10¹³ steps, in any order."""
    n = 10 * FAR
    steps = jumbled(draw, [0, FAR, 2 * FAR, 3 * FAR, 5 * FAR, 8 * FAR, n - 1, n])
    hold_cycle(attempt, steps, lambda s: one_cycle(s, 3 * FAR - 1, n - 1), n)


# --- wsd --------------------------------------------------------------------------------------------------------------

SHAPES = {"linear": lambda x: 1 - float(x), "cosine": half, "1-sqrt": lambda x: 1 - math.sqrt(x)}


def wsd(step, w, n, down, kind="linear", floor=0.0):
    if step < w:
        return line(0, 1, step, w)
    if n is not None and step >= n:
        return floor
    if n is None or step <= n - down:
        return 1.0
    return to_floor(floor, SHAPES[kind](Fraction(step - (n - down), down)))


@part("wsd")
@pytest.mark.parametrize("kind", list(SHAPES))
def test_wsd_by_hand(attempt, kind):
    """Up in 2 steps, stable until step 6, down to 0.2 at step 10."""
    wave = SHAPES[kind]

    def before(f):
        return lambda s: wsd(s, 2, 10, 4, kind, 0.2) if s <= 5 else f(s)

    known = {
        "a decay that begins one step early": before(lambda s: to_floor(0.2, wave(min(1, (s - 5) / 4)))),
        "a decay that begins one step late": before(lambda s: to_floor(0.2, wave(min(1, max(0, s - 7) / 3)))),
        "a decay to 0 that is cut at floor": before(lambda s: max(0.2, wave(min(1, (s - 6) / 4)))),
        "the floor added, the height not reduced": before(lambda s: 0.2 + wave(min(1, (s - 6) / 4))),
        "floor left out": before(lambda s: wave(min(1, (s - 6) / 4))),
        "progress counted from the end of the warm-up": before(lambda s: to_floor(0.2, wave(min(1, (s - 2) / 8)))),
        "a decay from step 0 on": before(lambda s: to_floor(0.2, wave(min(1, s / 10)))),
        "0 after the end": before(lambda s: wsd(s, 2, 10, 4, kind, 0.2) if s <= 10 else 0),
        "no decay": before(lambda s: 1),
        "(step + 1) / w in the warm-up": lambda s: wsd(s, 2, 10, 4, kind, 0.2) if s >= 2 else (s + 1) / 2,
    }
    known |= {
        f"the shape {other!r}": before(lambda s, g=g: to_floor(0.2, g(min(1, (s - 6) / 4))))
        for other, g in SHAPES.items()
        if other != kind
    }
    if kind == "1-sqrt":
        known["√(1 - x)"] = before(lambda s: to_floor(0.2, math.sqrt(max(0, 1 - (s - 6) / 4))))
    hold(
        attempt, "wsd", range(13), lambda s: wsd(s, 2, 10, 4, kind, 0.2), args=(2, 10, 4), kind=kind, floor=0.2,
        known=known,
    )  # fmt: skip


@part("wsd")
def test_wsd_without_an_end(attempt):
    """Without n the factor stays at 1 after the warm-up, for ever, whatever decay_steps is."""
    want = lambda s: min(1.0, s / 3)
    hold(attempt, "wsd", [*range(7), 1000, FAR, 10**15], want, args=(3,))
    hold(attempt, "wsd", [0, 1, 2, 3, 4, 9, 1000], want, args=(3, None, 5), floor=0.2)


@part("wsd")
@pytest.mark.parametrize("kind", list(SHAPES))
def test_wsd_has_one_stable_run(attempt, kind):
    """Whatever end is chosen later, the steps before its decay have the factors of a run without an end."""
    stable = attempt.each("wsd", [(step, 5) for step in range(60)])
    agree(stable, [min(1.0, step / 5) for step in range(60)], of="wsd(step, 5) at steps 0 to 59, no end given")
    for n, down in ((20, 4), (37, 7), (61, 11)):
        want = lambda s, n=n, down=down: stable[s] if s < n - down else wsd(s, 5, n, down, kind)
        hold(attempt, "wsd", range(n + 2), want, args=(5, n, down), kind=kind)


@part("wsd")
def test_wsd_that_decays_in_a_tenth(attempt):
    """MiniCPM's share: of 1,000 steps the last 100 decay. Step 900 is the last at the full rate."""
    want = {0: 0, 9: 0.9, 10: 1, 500: 1, 899: 1, 900: 1, 901: 0.99, 950: 0.5, 999: 0.01, 1000: 0, 1500: 0}
    hold(attempt, "wsd", list(want), want.get, args=(10, 1000, 100), known={
        "a decay over a tenth of what is left after the warm-up": lambda s: wsd(s, 10, 1000, 99),
    })  # fmt: skip


@part("wsd")
def test_wsd_of_any_size(attempt, draw):
    """Any lengths, shapes and floors, in any order; by default linear to 0."""
    for kind in SHAPES:
        w, stable, down = draw.random.randrange(1, 6), draw.random.randrange(1, 9), draw.random.randrange(4, 12)
        floor, n = draw.random.uniform(0.05, 0.5), w + stable + down
        want = lambda s, w=w, n=n, down=down, kind=kind, floor=floor: wsd(s, w, n, down, kind, floor)
        hold(attempt, "wsd", jumbled(draw, range(n + 3)), want, args=(w, n, down, kind, floor))
    hold(attempt, "wsd", range(12), lambda s: wsd(s, 2, 9, 5), args=(2, 9, 5))


@part("wsd")
def test_wsd_with_a_piece_left_out(attempt):
    """No warm-up, no stable steps, no decay: nothing is divided by 0, and after n there is the floor."""
    for w, n, down in ((0, 6, 3), (3, 7, 4), (2, 5, 0), (4, 4, 0), (0, 3, 3), (0, 2, 0)):
        for kind in SHAPES:
            want = lambda s, w=w, n=n, down=down, kind=kind: wsd(s, w, n, down, kind, 0.25)
            hold(attempt, "wsd", range(n + 3), want, args=(w, n, down, kind, 0.25))
    hold(attempt, "wsd", range(3), lambda s: 1, args=(0,))


@part("wsd")
def test_wsd_far_away(attempt, draw):
    """A run of 10¹³ steps, in any order."""
    steps = jumbled(draw, [0, FAR // 2, FAR, 8 * FAR - 1, 8 * FAR, 9 * FAR, 10 * FAR, 20 * FAR])
    for kind in SHAPES:
        want = lambda s, kind=kind: wsd(s, FAR, 10 * FAR, 2 * FAR, kind, 0.1)
        hold(attempt, "wsd", steps, want, args=(FAR, 10 * FAR, 2 * FAR, kind, 0.1))


@part("wsd")
@pytest.mark.parametrize("args", [(0, 2, 9, 3, "sqrt"), (8, 2, 9, 3, "exponential"), (5, 2, None, 0, "")], ids=str)
def test_wsd_refuses_other_kinds(attempt, args):
    """A kind that is not listed is a ValueError, also before the decay begins."""
    with refusal(ValueError, of=f"wsd{args}"):
        attempt.wsd(*args)


@part("wsd")
@pytest.mark.parametrize("args", [(0, 4, 9, 6), (3, 10, 9, 0), (20, 4, 9, 6), (0, 0, 9, 10)], ids=str)
def test_wsd_refuses_what_does_not_fit(attempt, args):
    """Warm-up and decay that are longer than the run together are a ValueError."""
    with refusal(ValueError, of=f"wsd{args}"):
        attempt.wsd(*args)


# --- Plateau ----------------------------------------------------------------------------------------------------------


def improvements(metrics, min_delta=0.0, mode="min", *, against="counted", strict=True):
    """For each metric, whether it counts as an improvement. This depends on no drop and no cooldown."""
    best, found = math.inf, []
    for metric in metrics:
        value = metric if mode == "min" else -metric
        better = value < best - min_delta or (not strict and value == best - min_delta)
        found.append(better)
        if better or (against == "any" and value < best) or against == "last":
            best = value
    return found


def lowered(metrics, drop=0.1, patience=10, min_delta=0.0, cooldown=0, floor=0.0, mode="min", *, keep=False, **how):
    """The factor after each metric: it drops where more than `patience` follow the last that was good or skipped."""
    factor, clean, factors = 1.0, -1, []
    for t, good in enumerate(improvements(metrics, min_delta, mode, **how)):
        clean = max(clean, t) if good else clean
        if t - clean > patience:
            factor = max(factor * drop, floor)
            clean = t + cooldown if not keep else clean
        factors.append(factor)
    return factors


def hold_plateau(attempt, metrics, known=None, **options):
    said = ", ".join(f"{key}={written(value)}" for key, value in options.items())
    series = ", ".join(f"{metric:g}" for metric in metrics[:16]) + (", ..." if len(metrics) > 16 else "")
    agree(
        attempt.run(drivers.plateaus, [(options, metrics)])[0],
        lowered(metrics, **options),
        of=f"the factors of Plateau({said}) after each of the metrics {series}",
        known=known,
    )


@part("Plateau")
def test_plateau_by_hand(attempt):
    """Patience 1 bears one bad metric and drops at the second; after a drop the count begins anew."""
    metrics, options = [3.0, 3.0, 3.0, 2.0, 4.0, 1.0, 5.0, 3.0, 3.0, 3.0, 3.0], {"drop": 0.5, "patience": 1}
    want = [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
    agree(
        attempt.run(drivers.plateaus, [(options, metrics)])[0],
        list(map(float, want)),
        of="the factors of Plateau(drop=0.5, patience=1) after 3, 3, 3, 2, 4, 1, 5, 3, 3, 3, 3",
        known={
            "a drop when the count reaches patience": lowered(metrics, 0.5, 0),
            "one more bad metric borne": lowered(metrics, 0.5, 2),
            "an equal metric as an improvement": lowered(metrics, 0.5, 1, strict=False),
            "a comparison with the last metric, not with the best": lowered(metrics, 0.5, 1, against="last"),
            "a count that is not set back by a drop": lowered(metrics, 0.5, 1, keep=True),
            "the larger metric as the better one": lowered(metrics, 0.5, 1, mode="max"),
            "a drop that is taken off, not multiplied": [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0, 0, -0.5, -0.5],
        },
    )


@part("Plateau")
def test_plateau_bears_its_patience(attempt):
    """Patience counts bad metrics in a row: an improvement between them sets the count back."""
    for patience in (0, 2, 3):
        metrics = [9.0, *[9.5] * patience, 8.0, *[8.5] * patience, 7.0, *[7.5] * (3 * patience + 4)]
        hold_plateau(attempt, metrics, drop=0.5, patience=patience)


@part("Plateau")
def test_plateau_counts_real_improvements(attempt):
    """An improvement is more than min_delta below the best; a step of exactly min_delta is none."""
    metrics, options = [4.0, 3.75, 3.5, 3.25, 3.0, 2.25, 2.0, 1.9375], {"drop": 0.5, "patience": 0, "min_delta": 0.25}
    known = {
        "min_delta left out": lowered(metrics, 0.5, 0),
        "a step of exactly min_delta counted": lowered(metrics, 0.5, 0, 0.25, strict=False),
        "a best that takes every lower metric": lowered(metrics, 0.5, 0, 0.25, against="any"),
    }
    hold_plateau(attempt, metrics, known, **options)
    hold_plateau(attempt, [-4.0, -4.5, -4.25, -5.25, -5.5, -6.0], drop=0.5, patience=0, min_delta=0.5)


@part("Plateau")
def test_plateau_cools_down(attempt):
    """For `cooldown` calls after a drop bad metrics are not counted; good ones still become best."""
    for cooldown in (1, 2, 4):
        metrics = [5.0, *[6.0] * 9, 4.0, 4.5, 3.0, *[3.5] * 9]
        known = {
            "no cooldown": lowered(metrics, 0.5, 1),
            "a cooldown one call too long": lowered(metrics, 0.5, 1, cooldown=cooldown + 1),
        }
        if cooldown > 1:
            known["a cooldown one call too short"] = lowered(metrics, 0.5, 1, cooldown=cooldown - 1)
        hold_plateau(attempt, metrics, known, drop=0.5, patience=1, cooldown=cooldown)
    # 4.0 falls into the cooldown and becomes best: neither 4.5 improves on it.
    hold_plateau(attempt, [5.0, 6.0, 4.0, 4.5, 4.5, 4.5, 4.5, 4.5], drop=0.5, patience=0, cooldown=2)


@part("Plateau")
def test_plateau_keeps_its_floor(attempt):
    """The factor never falls below floor, and reaches it."""
    metrics = [1.0] * 9
    known = {
        "no floor": lowered(metrics, 0.5, 0),
        "no drop where it would go below floor": [1.0, 0.5, *[0.25] * 7],
    }
    hold_plateau(attempt, metrics, known, drop=0.5, patience=0, floor=0.2)
    hold_plateau(attempt, metrics, drop=0.0, patience=1, floor=0.25)
    hold_plateau(attempt, metrics, drop=0.0, patience=1)


@part("Plateau")
def test_plateau_of_a_maximum(attempt):
    """With mode "max" larger metrics are better, by more than min_delta."""
    metrics = [0.5, 0.75, 0.625, 0.5, 0.8125, 1.0, 0.75, 1.0, 1.125, 0.25]
    hold_plateau(attempt, metrics, drop=0.5, patience=1, mode="max")
    hold_plateau(attempt, metrics, drop=0.5, patience=0, mode="max", min_delta=0.125)
    hold_plateau(attempt, [-3.0, -2.0, -2.0, -1.0, -1.5, -1.5], drop=0.5, patience=0, mode="max")


@part("Plateau")
def test_plateau_and_nan(attempt):
    """NaN improves on nothing, in the beginning too, and never becomes best."""
    bad = math.nan
    for mode, sign in (("min", 1), ("max", -1)):
        metrics = [sign * metric for metric in (bad, bad, 3.0, bad, 2.0, bad, bad, bad, 2.5, 1.0, bad)]
        hold_plateau(attempt, metrics, drop=0.5, patience=1, mode=mode)


@part("Plateau")
def test_plateau_by_default(attempt):
    """Without options ten bad metrics are borne, the eleventh lowers the factor to a tenth."""
    hold_plateau(attempt, [2.0, *[2.0] * 24])
    hold_plateau(attempt, [2.0 - 1e-6 * i for i in range(30)])


@part("Plateau")
def test_plateau_of_any_series(attempt, draw):
    """Random series and options; two objects that are asked in turn know nothing of each other."""
    cases = []
    for _ in range(12):
        options = {
            "drop": draw.pick([0.5, 0.25]),
            "patience": draw.random.randrange(4),
            "cooldown": draw.random.randrange(4),
            "min_delta": draw.pick([0.0, 1.0, 2.0]),
            "floor": draw.pick([0.0, 0.125]),
            "mode": draw.pick(["min", "max"]),
        }
        cases.append((options, [float(draw.random.randrange(12)) for _ in range(40)]))
    got = attempt.run(drivers.plateaus, cases)
    for factors, (options, metrics) in zip(got, cases, strict=True):
        said = ", ".join(f"{key}={value!r}" for key, value in options.items())
        agree(factors, lowered(metrics, **options), of=f"the factors of Plateau({said}) after 40 random metrics")


@part("Plateau")
def test_plateau_of_a_long_run(attempt, draw):
    """600 metrics, with a patience of 40 and a cooldown of 25, and with shorter ones."""
    cases = []
    for patience, cooldown in ((40, 25), (11, 30), (100, 0), (0, 60)):
        options = {"drop": 0.9, "patience": patience, "cooldown": cooldown, "min_delta": 0.01}
        metrics = [math.exp(-i / 100) + draw.random.gauss(0, 0.1) for i in range(600)]
        cases.append((options, metrics))
    got = attempt.run(drivers.plateaus, cases)
    for factors, (options, metrics) in zip(got, cases, strict=True):
        said = ", ".join(f"{key}={value!r}" for key, value in options.items())
        agree(factors, lowered(metrics, **options), of=f"the factors of Plateau({said}) after each of 600 metrics")


@part("Plateau")
@pytest.mark.parametrize("mode", ["lower", "Min", ""])
def test_plateau_refuses_other_modes(attempt, mode):
    """A mode that is neither min nor max is a ValueError when the object is made."""
    with refusal(ValueError, of=f"Plateau(mode={mode!r})"):
        attempt.run(drivers.plateaus, [({"mode": mode}, [])])


# --- Scheduler --------------------------------------------------------------------------------------------------------


def tabled(base, tables, first, last):
    """Base rate times factor, for each step and group."""
    many = isinstance(tables[0], list)
    return [
        [rate * (tables[i] if many else tables)[step] for i, rate in enumerate(base)]
        for step in range(first, last + 1)
    ]  # fmt: skip


def chained(base, tables, steps):
    """What comes of multiplying the rate before by each factor."""
    rows = [[rate * tables[0] for rate in base]]
    for step in range(1, steps + 1):
        rows.append([rate * tables[step] for rate in rows[-1]])
    return rows


@part("Scheduler")
def test_scheduler_by_hand(attempt):
    """Rates 0.5 and 8 with factors 0, 1/2, 1, 1/4: 0 and 0, 0.25 and 4, 0.5 and 8, 0.125 and 2."""
    base, table = [0.5, 8.0], [0.0, 0.5, 1.0, 0.25, 0.125]
    want = [[0.0, 0.0], [0.25, 4.0], [0.5, 8.0], [0.125, 2.0]]
    agree(attempt.run(drivers.rates, base, table, 3), want, of="the rates when made, and after steps 1, 2, 3", known={
        "the rates of step 0 not written": [base, *want[1:]],
        "each factor multiplied on the rate before": chained(base, table, 3),
        "one step ahead": tabled(base, table, 1, 4),
        "the factor in the place of the rate": [[factor, factor] for factor in table[:4]],
        "one step behind": [want[0], *want[:3]],
        "the rate of the first group for all": [[row[0], row[0]] for row in want],
        "the first group alone": [[row[0], 8.0] for row in want],
    })  # fmt: skip


@part("Scheduler")
def test_scheduler_of_each_group(attempt, draw):
    """A list of schedules has one for each group; one function serves all groups, also one group, or many."""
    base = draw.uniform(3, low=0.1, high=2.0).tolist()
    tables = [draw.uniform(8).tolist() for _ in base]
    of = "the rates of 3 groups with a schedule each, when made and after steps 1 to 7"
    first = {"the first schedule for all groups": lambda: tabled(base, tables[0], 0, 7)}
    agree(attempt.run(drivers.rates, base, tables, 7), tabled(base, tables, 0, 7), of=of, known=first)
    of = of.replace("a schedule each", "a tuple of their schedules")
    agree(attempt.run(drivers.rates, base, tables, 7, kind="tuple"), tabled(base, tables, 0, 7), of=of)
    for count in (1, 5):
        base = draw.uniform(count, low=0.1, high=2.0).tolist()
        of = f"the rates of {count} groups with one schedule, when made and after steps 1 to 7"
        agree(attempt.run(drivers.rates, base, tables[0], 7), tabled(base, tables[0], 0, 7), of=of)
        of = f"the rates of {count} groups with a list of {count} schedules"
        agree(attempt.run(drivers.rates, base, [tables[0]] * count, 7), tabled(base, tables[0], 0, 7), of=of)


@part("Scheduler")
def test_scheduler_of_a_long_run(attempt, draw):
    """40 groups with a schedule each, 300 steps, and a state that is loaded after 217 of them."""
    base, steps, cut = draw.uniform(40, low=0.1, high=2.0).tolist(), 300, 217
    tables = [draw.uniform(steps + 1).tolist() for _ in base]
    of = "the rates of 40 groups, when made and after each of 300 steps"
    agree(attempt.run(drivers.rates, base, tables, steps), tabled(base, tables, 0, steps), of=of)
    told = attempt.run(drivers.resumed, base, tables, cut, steps, base)
    of = "the rates of 40 groups, when the state of step 217 is loaded, and after each step until 300"
    agree(told["rates"], tabled(base, tables, cut, steps), of=of)


@part("Scheduler")
def test_scheduler_writes_from_the_base_rate(attempt, draw):
    """Each rate is base rate · factor, whatever stands in the group; other entries are left alone."""
    base, table = [0.5, 3.0], draw.uniform(9, low=0.1).tolist()
    told = attempt.run(drivers.disturbed, base, table, 8)
    of = "the rates after steps, where somebody writes 77 into them before each step"
    agree(told["rates"], tabled(base, table, 0, 8), of=of)
    others = [{"params": [i], "weight_decay": 0.1 * i} for i in range(2)]
    agree(told["others"], others, of="the other entries of the groups after 8 steps")


@part("Scheduler")
def test_scheduler_finds_new_groups(attempt, draw):
    """The rates go into the dicts that `param_groups` holds now: a loaded optimizer has others there."""
    base, table = [0.5, 3.0], draw.uniform(6, low=0.1).tolist()
    told = attempt.run(drivers.reloaded, base, table, 5)
    want = tabled(base, table, 0, 5)
    known = {"rates written into the dicts of the beginning": [want[0]] * 6}
    of = "the rates in optimizer.param_groups, which holds other dicts before each step"
    agree(told["rates"], want, of=of, known=known)
    agree(told["stale"], [False] * 5, of="whether dicts that the optimizer no longer holds were written to")


@part("Scheduler")
def test_schedulers_side_by_side(attempt, draw):
    """Two Schedulers that are stepped in turn know nothing of each other."""
    cases = [(draw.uniform(n, low=0.1, high=2.0).tolist(), draw.uniform(6, low=0.1).tolist()) for n in (2, 3)]
    got = attempt.run(drivers.side_by_side, cases, 5)
    for told, (base, table) in zip(got, cases, strict=True):
        of = f"the rates of {len(base)} groups, where another Scheduler is stepped in turn, at steps 0 to 5"
        agree(told, tabled(base, table, 0, 5), of=of)


@part("Scheduler")
@pytest.mark.parametrize("count", [1, 3])
def test_scheduler_refuses_another_number(attempt, count):
    """A list of schedules that is not as long as the groups is a ValueError."""
    with refusal(ValueError, of=f"a Scheduler of 2 groups and a list of {count} schedules"):
        attempt.run(drivers.rates, [0.5, 8.0], [[1.0, 0.5]] * count, 0)


@part("Scheduler")
@pytest.mark.parametrize("given", ["base rates", "scaled rates", "other rates"])
def test_scheduler_resumes_anywhere(attempt, draw, given):
    """A run that is cut at any step goes on as an uncut one, whatever rates the new optimizer has when it is made."""
    base = draw.uniform(2, low=0.5, high=2.0).tolist()
    tables = [draw.uniform(9, low=0.1, high=0.9).tolist() for _ in base]
    steps = 7
    whole = tabled(base, tables, 0, steps)
    rows = []
    for cut in range(steps + 1):
        rates = {"base rates": base, "scaled rates": whole[cut], "other rates": [3.0, 5.0]}[given]
        rows.append((base, tables, cut, steps, rates))
    got = attempt.each(drivers.resumed, rows)
    for (*_, cut, _, rates), told in zip(rows, got, strict=True):
        scaled = [
            [rate * tables[i][step] for i, rate in enumerate(rates)] for step in range(cut, steps + 1)
        ]  # fmt: skip
        known = {
            "the base rates of the new optimizer": scaled,
            "a new Scheduler that begins at step 0": [
                [rate * tables[i][step] for i, rate in enumerate(rates)] for step in range(steps - cut + 1)
            ],
            "the rates of the step not written when loading": [
                [rate * tables[i][0] for i, rate in enumerate(rates)], *whole[cut + 1 :]
            ],
            "one step ahead": [*whole[cut + 1 :], whole[-1]],
        }  # fmt: skip
        known = {name: value for name, value in known.items() if value != whole[cut:]} if cut == 3 else None
        if known and given == "base rates":
            known.pop("the base rates of the new optimizer", None)
        of = f"the rates after the state of step {cut} was loaded beside {given}, and after each step until {steps}"
        agree(told["rates"], whole[cut:], of=of, known=known)
        assert told["read_only"], "load_state_dict changed the state that it was given"


@part("Scheduler")
def test_scheduler_loads_back_and_forth(attempt, draw):
    """A Scheduler that has gone further goes back to the step that it loads."""
    base, table = [0.5, 3.0], draw.uniform(12, low=0.1, high=0.9).tolist()
    rows = [(base, table, cut, 6, [7.0, 2.0], ahead) for cut, ahead in ((2, 5), (4, 1), (0, 3), (6, 6))]
    for (*_, cut, _, _, ahead), told in zip(rows, attempt.each(drivers.resumed, rows), strict=True):
        of = f"the rates where a Scheduler that has taken {ahead} steps loads the state of step {cut}, until step 6"
        agree(told["rates"], tabled(base, table, cut, 6), of=of)


# --- batch_scaling ----------------------------------------------------------------------------------------------------


@part("batch_scaling")
def test_batch_scaling_by_hand(attempt):
    """0.1 at batch 256 becomes 3.2 at 8,192, or 0.1 · √32; 1,000 steps become 32."""
    root = 0.1 * math.sqrt(32)
    of = "batch_scaling(0.1, 1000, 256, 8192)"
    agree(attempt.batch_scaling(0.1, 1000, 256, 8192), (3.2, 32), of=of, known={
        "the rate of the root": (root, 32),
        "a rate that falls": (0.1 / 32, 32),
        "steps rounded down": (3.2, 31),
        "steps that grow with the batch": (3.2, 32_000),
        "steps left as they are": (3.2, 1000),
        "the rate left as it is": (0.1, 32),
        "steps divided by the root": (3.2, 177),
    })  # fmt: skip
    agree(attempt.batch_scaling(0.1, 1000, 256, 8192, "root"), (root, 32), of=f"{of[:-1]}, 'root')", known={
        "the linear rule": (3.2, 32),
        "steps divided by the root, too": (root, 177),
    })  # fmt: skip


@part("batch_scaling")
def test_batch_scaling_in_both_directions(attempt, draw):
    """Larger or smaller batches, that divide or not; equal batches change nothing."""
    rows, want = [], []
    for rule in ("linear", "root"):
        for batch, new in ((256, 256), (256, 64), (96, 256), (7, 3), (1, 512)):
            rate, steps = draw.random.uniform(0.01, 1.0), draw.random.randrange(100, 9000)
            k = Fraction(new, batch)
            rows.append((rate, steps, batch, new, rule))
            want.append((rate * float(k) if rule == "linear" else rate * math.sqrt(k), math.ceil(steps / k)))
    for row, got, right in zip(rows, attempt.each("batch_scaling", rows), want, strict=True):
        agree(got, right, of=f"batch_scaling{row}")


@part("batch_scaling")
def test_batch_scaling_sees_as_many_examples(attempt):
    """The new number of steps is the smallest that sees as many examples, exact for ints of any size."""
    rows = [
        (0.1, steps, batch, new) for batch, new in ((3, 7), (8, 4096)) for steps in (0, 1, 7, 10**17 + 1, 10**25 + 3)
    ]
    got = attempt.each("batch_scaling", rows)
    for (_, steps, batch, new), (_, count) in zip(rows, got, strict=True):
        of = f"the steps of batch_scaling(0.1, {steps:,}, {batch}, {new})"
        agree(count, math.ceil(Fraction(steps * batch, new)), of=of)


@part("batch_scaling")
@pytest.mark.parametrize("rule", ["sqrt", "Linear", ""])
def test_batch_scaling_refuses_other_rules(attempt, rule):
    """A rule that is not listed is a ValueError."""
    for new in (8, 4):
        with refusal(ValueError, of=f"batch_scaling(0.1, 10, 4, {new}, {rule!r})"):
            attempt.batch_scaling(0.1, 10, 4, new, rule)
