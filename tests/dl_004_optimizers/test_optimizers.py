"""Hidden checks of dl_004: oracles are sums over the whole history of gradients, not recursions, and an SVD."""

import cmath
import math

import pytest
import torch

from grader.checks import agree, at_most, in_torch, part, refusal
from grader.checks.again import hold_again

from . import drivers

DTYPES = ["float64", "float32"]
SHAPES = [(3, 5), (7,), (2, 3, 4), (), (2,)]
MATRICES = [(3, 5), (7, 2), (2, 11), (4, 4), (5, 3)]


def of_type(name):
    return getattr(torch, name)


# --- What a run should give: a rule moves p, knowing all p and all gradients since the first, and the options now -----


def weighted(gradients, beta):
    """The average that forgets by β a step, begun at 0: the sum of (1 - β)·β^(age)·g."""
    if not gradients:
        return 0.0
    ages = torch.arange(len(gradients) - 1, -1, -1, dtype=torch.float64)
    return torch.tensordot((1 - beta) * beta**ages, torch.stack(gradients), dims=1)


def squares(gradients, beta):
    return weighted([g**2 for g in gradients], beta)


def run(values, groups, script, rule):
    """Every parameter after each step, in float64. A rule gets (all p so far, all g so far, options, notes)."""
    now = [value.double() for value in values]
    owner = {
        i: k for k, (numbers, _) in enumerate(groups) for i in (range(len(values)) if numbers is None else numbers)
    }
    options = [dict(given) for _, given in groups]
    past = [([], [], [], [], []) for _ in values]  # p, g, rates, decays, calls
    trace = []
    for call, (gradients, changes) in enumerate(script, 1):
        for own, change in zip(options, changes, strict=True):
            own.update(change)
        for i, gradient in enumerate(gradients):
            if gradient is None:
                continue
            ps, gs, rates, decays, calls = past[i]
            ps.append(now[i])
            gs.append(gradient.double())
            rates.append(options[owner[i]]["lr"])
            decays.append(options[owner[i]].get("weight_decay", 0.0))
            calls.append(call)
            now[i] = rule(ps, gs, options[owner[i]], {"call": call, "rates": rates, "decays": decays, "calls": calls})
        trace.append(list(now))
    return trace


def named(trace, dtype, first=1):
    """A run as messages show it."""
    return {
        f"after step {step}": {f"parameter {i}": p.to(dtype) for i, p in enumerate(row)}
        for step, row in enumerate(trace, first)
    }


HEAD = 12  # so many steps tell the mistakes apart


def hold_run(got, values, groups, script, rule, of, known=None, tol=None, first=1):
    """Hold that a run gives what a rule gives, from step `first` on; known: name of a mistake to its rule."""
    dtype = values[0].dtype

    def made(by, steps):
        return named(run(values, groups, script[:steps], by)[first - 1 :], dtype, first)

    assert all(isinstance(row, list) for row in got or [None]), f"{of}: got no parameters to look at"
    found = {
        f"after step {step}": {f"parameter {i}": p for i, p in enumerate(row)} for step, row in enumerate(got, first)
    }
    steps = max(HEAD, first)
    head = dict(list(found.items())[: steps - first + 1]) if len(found) > steps - first + 1 else found
    mistakes = {name: (lambda w=wrong: made(w, steps)) for name, wrong in (known or {}).items()}
    agree(head, made(rule, steps), of=of, tol=tol, known=mistakes)
    agree(found, made(rule, len(script)), of=of, tol=tol)


def values_of(draw, shapes, dtype="float64"):
    return [draw.normal(*shape, dtype=of_type(dtype)) for shape in shapes]


def turned(x):
    """All axes in the other order: not contiguous."""
    return x.permute(tuple(range(x.dim()))[::-1])


def script_of(draw, values, steps, missing=False, options=None):
    """`steps` gradients for each value, also transposed ones in memory, and rates and decays that change.

    Of several values one has a gradient of zeros at first, and another one later; the fourth has a huge one once.
    missing: parameter 1 has none in some steps, and the last one never has.
    options: those of each group, of which rate and decay change, and are 0 once, as in a warm-up.
    """
    script = []
    zeros = {(0, len(values) // 2), (3, 0)} if len(values) > 1 else set()
    for step in range(steps):
        gradients = [
            turned(draw.normal(*value.shape[::-1], scale=draw.random.uniform(0.3, 3.0), dtype=value.dtype))
            * (0.0 if (step, i) in zeros else 1e3 if (step, i) == (6, 3) else 1.0)
            for i, value in enumerate(values)
        ]
        if missing:
            gradients[1] = gradients[1] if step in (1, 2, 5) or step > 8 else None
            gradients[-1] = None
        changes = [
            {
                name: own[name] * (0.0 if step == none else draw.random.uniform(0.5, 1.5))
                for name, none in (("lr", 2), ("weight_decay", 4))
                if name in own
            }
            for own in options or []
        ]
        script.append((gradients, changes))
    return script


class Family:
    """How an optimizer is asked: its options in two groups, its rule, and the mistakes that are told apart."""

    def __init__(self, name, rule, first, second, known, shapes=SHAPES, tol32=1e-4):
        self.name, self.rule, self.known, self.shapes = name, rule, known, shapes
        self.groups = [([0, 2, 3], first), ([1, 4], second)]
        self.tol = {"float64": 1e-9, "float32": tol32}

    def drawn(self, draw, steps, dtype="float64", missing=True):
        values = values_of(draw, self.shapes, dtype)
        return values, script_of(draw, values, steps, missing, [own for _, own in self.groups])

    def follows(self, attempt, draw, dtype, steps=50):
        """Fifty steps, two groups, rates that change, gradients that are missing."""
        values, script = self.drawn(draw, steps, dtype)
        got = attempt.run(drivers.train, self.name, values, self.groups, script)
        of = f"{self.name}, two groups, {steps} steps with changing rates and missing gradients, {dtype}"
        hold_run(got, values, self.groups, script, self.rule, of, self.known, self.tol[dtype])

    def handles(self, attempt, draw):
        """Parameters stay the objects that they are; gradients are read; what has no gradient is left alone."""
        values, script = self.drawn(draw, 12)
        told = attempt.run(drivers.handle, self.name, values, self.groups, script)
        of = (
            f"{self.name}, seen through the memory that each parameter had at first, gradients overwritten after a step"
        )
        hold_run(told["trace"], values, self.groups, script, self.rule, of, self.known)
        assert told["same_objects"], f"{self.name}: the groups no longer hold the parameters that they were given"
        assert told["same_memory"], f"{self.name}: a parameter lies in other memory after the steps: change it in place"
        assert told["requires_grad"], f"{self.name}: a parameter no longer is a leaf that requires gradients"
        assert told["grad_mode"], f"{self.name}: gradients are switched off after the steps"
        agree(told["written"], [], of=f"{self.name}: parameters whose gradient was written to")
        agree(told["replaced"], [], of=f"{self.name}: parameters whose .grad became another object")
        assert 4 in told["without_state"], f"{self.name}: a parameter that never had a gradient has state"

    def resumes(self, attempt, draw, cuts=(1, 4, 7)):
        """A run that is saved anywhere and loaded into a new optimizer ends as an uncut one."""
        values, script = self.drawn(draw, 11)
        for cut, got in zip(
            cuts,
            attempt.each(drivers.resume, [(self.name, values, self.groups, script, cut) for cut in cuts]),
            strict=True,
        ):
            of = f"{self.name}, saved after step {cut}, loaded into a new optimizer, while the old one goes on"
            hold_run(got, values, self.groups, script, self.rule, of, first=cut + 1)

    def remembers(self, attempt, draw, tensors, shape=(181, 193), size=None, options=None):
        """What stays alive after a step: so many tensors in the shape of p, and a few numbers."""
        own = options or self.groups[0][1]
        value = draw.normal(*shape, dtype=torch.float32)
        signs = draw.normal(*shape).sign()  # fixed, so that rounding turns no sign of an average
        gradients = [(signs * draw.uniform(*shape, low=0.3, high=2.0)).float() for _ in range(5)]
        told = attempt.run(drivers.held, self.name, value, own, gradients)
        want = run([value], [(None, own)], [([g], [{}]) for g in gradients], self.rule)[-1][0].float()
        tol = self.tol["float32"]
        agree(told["value"], want, axes="m n", of=f"{self.name}, a {shape} float32 matrix after 5 steps", tol=tol)
        allowed = (tensors * value.numel() if size is None else size) * value.element_size() + 256
        of = f"bytes that 5 steps of {self.name} on a {shape} float32 matrix ({4 * value.numel():,} bytes) keep alive"
        at_most(told["tensors"], allowed, of=of)
        small = value.numel()  # a quarter of p, for what Python itself needs
        at_most(told["tensors"] + told["beside"], allowed + small, of=f"{of}, in Python and numpy beside torch, too")


# --- SGD --------------------------------------------------------------------------------------------------------------


def sgd(ps, gs, o, notes, *, buffer="damped", nesterov=None, inside=False, decay="coupled"):
    wd, mu, tau, lr = o.get("weight_decay", 0.0), o.get("momentum", 0.0), o.get("dampening", 0.0), o["lr"]
    nesterov = o.get("nesterov", False) if nesterov is None else nesterov
    signed = {"coupled": 1, "decoupled": 0, "negative": -1}[decay]
    ds = [g + signed * own * p for p, g, own in zip(ps, gs, notes["decays"], strict=True)]
    rates = notes["rates"] if inside else [1.0] * len(ds)
    ages = range(len(ds) - 1, -1, -1)
    whole = {"damped": 1 - tau, "undamped": 1.0, "average": 1 - mu}[buffer]
    scales = [1.0 if i == 0 and buffer != "average" else whole for i in range(len(ds))]
    kept = sum(mu**age * rate * s * d for age, rate, s, d in zip(ages, rates, scales, ds, strict=True))
    update = kept if mu else rates[-1] * ds[-1]
    if mu and nesterov:
        update = rates[-1] * ds[-1] + mu * kept
    moved = ps[-1] - (1.0 if inside else lr) * update
    return moved - lr * wd * ps[-1] if decay == "decoupled" else moved


def damped_first(ps, gs, o, notes):
    """Dampening on the first gradient as well."""
    mu, tau = o["momentum"], o["dampening"]
    ds = [g + wd * p for p, g, wd in zip(ps, gs, notes["decays"], strict=True)]
    kept = sum(mu**age * (1 - tau) * d for age, d in enumerate(reversed(ds)))
    return ps[-1] - o["lr"] * (ds[-1] + mu * kept if o["nesterov"] else kept)


def variant(rule, **how):
    return lambda ps, gs, o, notes: rule(ps, gs, o, notes, **how)


SGD_MISTAKES = {
    "the rate inside of the buffer": variant(sgd, inside=True),
    "Nesterov momentum where it is not asked for, and none where it is": lambda ps, gs, o, notes: sgd(
        ps, gs, o, notes, nesterov=not o.get("nesterov", False)
    ),
    "no Nesterov momentum": variant(sgd, nesterov=False),
    "a buffer without dampening": variant(sgd, buffer="undamped"),
    "a buffer that is an average, with 1 - momentum before the gradient": variant(sgd, buffer="average"),
    "decay beside the momentum (decoupled)": variant(sgd, decay="decoupled"),
    "decay that makes weights grow": variant(sgd, decay="negative"),
}
SGD = Family(
    "SGD",
    sgd,
    {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "nesterov": False, "weight_decay": 0.2},
    {"lr": 0.03, "momentum": 0.7, "dampening": 0.0, "nesterov": True, "weight_decay": 0.1},
    SGD_MISTAKES | {"dampening of the first gradient as well": damped_first},
)


@part("SGD")
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sgd_steps_against_the_gradient(attempt, draw, decay):
    """Without momentum a step is p - lr · (g + weight_decay · p)."""
    values = values_of(draw, [(3, 5), (7,)])
    groups = [(None, {"lr": 0.1, "weight_decay": decay})]
    script = script_of(draw, values, 3, options=[{"lr": 0.1}])
    got = attempt.run(drivers.train, "SGD", values, groups, script)
    known = {
        "a step along the gradient, uphill": lambda ps, gs, o, notes: ps[-1] + o["lr"] * (gs[-1] + decay * ps[-1]),
    }
    known |= {"decay that makes weights grow": variant(sgd, decay="negative")} if decay else {}
    hold_run(got, values, groups, script, sgd, f"SGD with weight_decay {decay}, 3 steps", known)
    script = [(gradients, [{}]) for gradients, _ in script]
    got = attempt.run(drivers.train, "SGD", values, [(None, {})], script)
    hold_run(got, values, [(None, DEFAULTS["SGD"])], script, sgd, "SGD without options, 3 steps")


@part("SGD")
@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9},
        {"momentum": 0.8, "dampening": 0.5},
        {"momentum": 0.7, "nesterov": True},
        {"momentum": 0.8, "weight_decay": 0.3},
        {"momentum": 0.6, "dampening": 0.2, "nesterov": True, "weight_decay": 0.1},
        {"dampening": 0.5, "nesterov": True},
    ],
    ids=["momentum", "dampening", "nesterov", "decay", "all", "no momentum"],
)
def test_sgd_with_momentum(attempt, draw, options):
    """The buffer takes the first direction whole and the later ones damped; the rate stands outside of it."""
    values = values_of(draw, [(5, 3), (7,)])
    groups = [(None, {"lr": 0.1, **options})]
    script = script_of(draw, values, 5, options=[{"lr": 0.1}])
    want = run(values, groups, script, sgd)[-1]
    known = {  # those that differ here from what is right
        name: rule
        for name, rule in SGD_MISTAKES.items()
        if not torch.allclose(run(values, groups, script, rule)[-1][0], want[0])
        and not name.startswith("Nesterov momentum where")
    }
    got = attempt.run(drivers.train, "SGD", values, groups, script)
    hold_run(got, values, groups, script, sgd, f"SGD with {options}, 5 steps with changing rates", known)


@part("SGD")
@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd_follows_its_rule(attempt, draw, dtype):
    """Fifty steps of two groups with changing rates and missing gradients are what the formula says."""
    SGD.follows(attempt, draw, dtype)


@part("SGD")
def test_sgd_keeps_parameters_and_gradients(attempt, draw):
    """Parameters change in place, gradients are only read and never kept, what has no gradient is left alone."""
    SGD.handles(attempt, draw)


@part("SGD")
def test_sgd_resumes(attempt, draw):
    """A run saved after any step goes on as if it had not been cut."""
    SGD.resumes(attempt, draw)


@part("SGD")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_memory(attempt, draw, momentum):
    """One tensor a parameter is remembered with momentum, none without."""
    SGD.remembers(attempt, draw, int(momentum > 0), options={"lr": 0.1, "momentum": momentum, "weight_decay": 0.1})


# --- momentum_tuning --------------------------------------------------------------------------------------------------


def slowest(lr, momentum, eigenvalues):
    """The larger |root| of x² - (1 + momentum - lr·λ)·x + momentum, the largest over all λ."""
    sizes = []
    for value in eigenvalues:
        half = (1 + momentum - lr * value) / 2
        root = cmath.sqrt(half**2 - momentum)
        sizes.append(max(abs(half + root), abs(half - root)))
    return max(sizes)


def tuned(eigenvalues):
    """(lr, momentum, factor) by the condition number."""
    root = math.sqrt(max(eigenvalues) / min(eigenvalues))
    factor = 1 - 2 / (root + 1)
    return (1 + factor) ** 2 / max(eigenvalues), factor**2, factor


@part("momentum_tuning")
def test_tuning_by_hand(attempt):
    """Eigenvalues 1 and 9, the example of the docstring, and 4 and 100."""
    for eigenvalues, want in (([1.0, 9.0], (0.25, 0.25, 0.5)), ([100.0, 4.0], (1 / 36, 4 / 9, 2 / 3))):
        low, high = min(eigenvalues), max(eigenvalues)
        agree(
            attempt.momentum_tuning(eigenvalues),
            want,
            of=f"(lr, momentum, factor) for eigenvalues {eigenvalues}",
            known={
                "tuning without momentum": (2 / (low + high), 0.0, (high - low) / (high + low)),
                "the condition number without its root": tuned([low**2, high**2]),
                "(lr, factor, momentum), in another order": (want[0], want[2], want[1]),
                "momentum that was not squared": (want[0], want[2], want[2]),
                "Nesterov's tuning, rate 1/L": (1 / high, want[2], 1 - math.sqrt(low / high)),
            },
        )


@part("momentum_tuning")
def test_tuning_of_any_spectrum(attempt, draw):
    """Any number of eigenvalues in any order, from nearly equal to 1e10 apart; only the extremes matter."""
    spectra = []
    for spread in (1e-3, 0.5, 3.0, 12.0, 23.0):
        for count in (2, 3, 7):
            low = draw.random.uniform(-40, 40)
            logs = [low, low + spread, *(low + spread * draw.random.random() for _ in range(count - 2))]
            draw.random.shuffle(logs)
            spectra.append([math.exp(log) for log in logs])
    got = attempt.each("momentum_tuning", [(spectrum,) for spectrum in spectra])
    for spectrum, found in zip(spectra, got, strict=True):
        agree(found, tuned(spectrum), of=f"(lr, momentum, factor) for eigenvalues {spectrum}", tol=1e-9)
    types = attempt.run(drivers.types_of_tuning, [tuple(spectra[0]), (2.0,), (2, 8)])
    assert types == [["float"] * 3] * 3, f"of three spectra, tuples, the results are {types}, not three plain floats"


@part("momentum_tuning")
def test_tuning_is_the_best_there_is(attempt, draw):
    """The factor is the slowest eigenvector's, and no other rate or momentum makes it smaller."""
    eigenvalues = [draw.random.uniform(0.5, 1.0), 3.0, draw.random.uniform(20.0, 40.0)]
    got = attempt.momentum_tuning(eigenvalues)
    lr, momentum, factor = got
    agree(slowest(lr, momentum, eigenvalues), factor, of="the slowest |root| at the rate and momentum found", tol=1e-6)
    for _ in range(500):
        other = lr * math.exp(draw.random.gauss(0, 0.3)), momentum + draw.random.gauss(0, 0.1)
        better = slowest(*other, eigenvalues)
        assert better > factor - 1e-6, (
            f"eigenvalues {eigenvalues}: rate {other[0]:.4g} and momentum {other[1]:.4g} shrink by {better:.6g} "
            f"a step, better than {factor:.6g}"
        )


@part("momentum_tuning")
def test_tuning_of_one_eigenvalue(attempt):
    """All eigenvalues equal: one step of plain descent is enough; a single one counts, too."""
    for eigenvalues in ([4.0], [0.25, 0.25, 0.25]):
        want = (1 / eigenvalues[0], 0.0, 0.0)
        agree(attempt.momentum_tuning(eigenvalues), want, of=f"(lr, momentum, factor) for eigenvalues {eigenvalues}")


@part("momentum_tuning")
@pytest.mark.parametrize(
    "eigenvalues", [[], [0.0], [1.0, -2.0, 3.0], [3.0, 0.0], [math.nan, 1.0], [1.0, math.nan], [math.inf, 2.0]], ids=str
)
def test_tuning_refuses(attempt, eigenvalues):
    """No eigenvalue, or one that is zero, negative, infinite or NaN, is a ValueError."""
    with refusal(ValueError, of=f"momentum_tuning({eigenvalues})"):
        attempt.momentum_tuning(eigenvalues)


# --- Adagrad and RMSprop ----------------------------------------------------------------------------------------------


def adagrad(ps, gs, o, notes, *, late=False, root="outside"):
    total = sum(g**2 for g in (gs[:-1] if late else gs)) + 0 * gs[-1]
    return ps[-1] - o["lr"] * gs[-1] / ((total + o["eps"]).sqrt() if root == "inside" else total.sqrt() + o["eps"])


def rmsprop(ps, gs, o, notes, *, corrected=False, root="outside", swapped=False):
    alpha = 1 - o["alpha"] if swapped else o["alpha"]
    v = squares(gs, alpha) / (1 - alpha ** len(gs) if corrected else 1)
    return ps[-1] - o["lr"] * gs[-1] / ((v + o["eps"]).sqrt() if root == "inside" else v.sqrt() + o["eps"])


ADAGRAD_MISTAKES = {
    "eps inside of the root": variant(adagrad, root="inside"),
    "squares that come in after the step": variant(adagrad, late=True),
    "RMSprop": lambda ps, gs, o, notes: rmsprop(ps, gs, {**o, "alpha": 0.99}, notes),
    "a total without its root": lambda ps, gs, o, notes: ps[-1] - o["lr"] * gs[-1] / (sum(g**2 for g in gs) + o["eps"]),
    "a sum of |g| in place of the root of the sum of g²": lambda ps, gs, o, notes: (
        ps[-1] - o["lr"] * gs[-1] / (sum(g.abs() for g in gs) + o["eps"])
    ),
    "gradient descent": lambda ps, gs, o, notes: ps[-1] - o["lr"] * gs[-1],
}
RMSPROP_MISTAKES = {
    "eps inside of the root": variant(rmsprop, root="inside"),
    "an average that is corrected for its start": variant(rmsprop, corrected=True),
    "alpha and 1 - alpha exchanged": variant(rmsprop, swapped=True),
    "Adagrad": adagrad,
    "gradient descent": lambda ps, gs, o, notes: ps[-1] - o["lr"] * gs[-1],
}
ADAGRAD = Family("Adagrad", adagrad, {"lr": 0.3, "eps": 0.2}, {"lr": 0.2, "eps": 1e-3}, ADAGRAD_MISTAKES)
RMSPROP = Family(
    "RMSprop", rmsprop, {"lr": 0.1, "alpha": 0.9, "eps": 0.2}, {"lr": 0.2, "alpha": 0.7, "eps": 1e-3}, RMSPROP_MISTAKES
)
FIRST_STEPS = {
    "Adagrad": (ADAGRAD, {"lr": 0.5, "eps": 0.25}),
    "RMSprop": (RMSPROP, {"lr": 0.5, "eps": 0.25, "alpha": 0.75}),
}


def hold_first_steps(attempt, draw, family, options, steps=3, zeros=()):
    """A few steps of one parameter; then with other options as they are by default, but the rate, and with all.

    zeros: options that are 0, or begin with it, in a run each: they are not as if they were not given.
    """
    values = values_of(draw, [(2, 3)])
    for own in (options, {"lr": options["lr"]}, {}, *({**options, **zero} for zero in zeros)):
        script = script_of(draw, values, steps)
        script = [(gradients, [{}]) for gradients, _ in script]
        got = attempt.run(drivers.train, family.name, values, [(None, own)], script)
        full = {**DEFAULTS[family.name], **own}
        of = f"{family.name} with {own}, {steps} steps"
        hold_run(got, values, [(None, full)], script, family.rule, of, family.known if own is options else None)


DEFAULTS = {
    "SGD": {"lr": 1e-3},
    "Adagrad": {"lr": 1e-2, "eps": 1e-10},
    "RMSprop": {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8},
    "Adam": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8},
    "AdamW": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2},
    "AMSGrad": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8},
    "Lion": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0},
    "Muon": {"lr": 1e-3, "momentum": 0.95, "nesterov": True, "weight_decay": 0.1},
    "Adafactor": {"lr": 1e-2, "beta2_decay": -0.8, "eps": (None, 1e-3), "d": 1.0, "weight_decay": 0.0},
}
NO_MEMORY = [{"betas": (0.0, 0.9)}, {"betas": (0.9, 0.0)}]


@part("Adagrad")
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_adaptive_first_steps(attempt, draw, name):
    """Three steps of one parameter: the square comes in before the step, eps stands outside of the root."""
    hold_first_steps(attempt, draw, *FIRST_STEPS[name], zeros=[{"alpha": 0.0}] if name == "RMSprop" else [])


@part("Adagrad")
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_adaptive_rates_are_each_entry_s(attempt, name):
    """A rare gradient moves as far at its first appearance, however small; zeros move nothing."""
    values = [torch.zeros(4, dtype=torch.float64)]
    gradients = [[1e-3, 0.0, 5.0, 0.0], [1e-3, 0.0, 5.0, 0.0], [1e-3, 0.0, 5.0, 1e-6]]
    script = [([torch.tensor(g, dtype=torch.float64)], [{}]) for g in gradients]
    options = {"lr": 0.5, "eps": 1e-12} | ({"alpha": 0.8} if name == "RMSprop" else {})
    got = attempt.run(drivers.train, name, values, [(None, options)], script)
    family = FIRST_STEPS[name][0]
    of = f"{name} on entries with gradients {gradients[-1]}, of which the last one was 0 before"
    shared = lambda ps, gs, o, notes: ps[-1] - o["lr"] * gs[-1] / sum((g**2).sum() for g in gs).sqrt()
    hold_run(got, values, [(None, options)], script, family.rule, of, {"one rate for all entries": shared})


@part("Adagrad")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_adaptive_follows_its_rule(attempt, draw, name, dtype):
    """Fifty steps of two groups with changing rates and missing gradients are what the formula says."""
    FIRST_STEPS[name][0].follows(attempt, draw, dtype)


@part("Adagrad")
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_adaptive_keeps_parameters_and_gradients(attempt, draw, name):
    """Parameters change in place, gradients are only read and never kept, what has no gradient is left alone."""
    FIRST_STEPS[name][0].handles(attempt, draw)


@part("Adagrad")
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_adaptive_resumes(attempt, draw, name):
    """A run saved after any step goes on as if it had not been cut."""
    FIRST_STEPS[name][0].resumes(attempt, draw)


@part("Adagrad")
@pytest.mark.parametrize("name", FIRST_STEPS)
def test_adaptive_memory(attempt, draw, name):
    """One tensor a parameter is remembered."""
    FIRST_STEPS[name][0].remembers(attempt, draw, 1)


# --- Adam -------------------------------------------------------------------------------------------------------------


def adam(ps, gs, o, notes, *, correct=(True, True), eps="outside", t=None, second="square", first=True):
    beta1, beta2 = o["betas"]
    t = len(gs) if t is None else t(notes)
    m = weighted(gs, beta1) / (1 - beta1**t if correct[0] else 1)
    v = weighted([g**2 if second == "square" else g.abs() for g in gs], beta2) / (1 - beta2**t if correct[1] else 1)
    m = m if first else gs[-1]
    if eps == "inside":
        return ps[-1] - o["lr"] * m / (v + o["eps"]).sqrt()
    if eps == "before":
        return ps[-1] - o["lr"] * m * math.sqrt(1 - beta2**t) / ((v * (1 - beta2**t)).sqrt() + o["eps"])
    return ps[-1] - o["lr"] * m / (v.sqrt() + o["eps"])


def swapped_betas(ps, gs, o, notes):
    return adam(ps, gs, {**o, "betas": o["betas"][::-1]}, notes)


ADAM_MISTAKES = {
    "no correction of either average": variant(adam, correct=(False, False)),
    "no correction of m": variant(adam, correct=(False, True)),
    "no correction of v": variant(adam, correct=(True, False)),
    "eps inside of the root": variant(adam, eps="inside"),
    "eps added before the correction": variant(adam, eps="before"),
    "the two betas exchanged": swapped_betas,
    "the gradient in place of its average": variant(adam, first=False),
    "an average of |g| in place of g²": variant(adam, second="absolute"),
    "t that is one step behind, from the second step on": variant(
        adam, t=lambda notes: max(1, len(notes["rates"]) - 1)
    ),
    "t that is one step ahead": variant(adam, t=lambda notes: len(notes["rates"]) + 1),
    "gradient descent": lambda ps, gs, o, notes: ps[-1] - o["lr"] * gs[-1],
}
ONE_T = {"one t for all parameters": variant(adam, t=lambda notes: notes["call"])}
ADAM = Family(
    "Adam",
    adam,
    {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.1},
    {"lr": 0.2, "betas": (0.6, 0.99), "eps": 1e-3},
    ADAM_MISTAKES | ONE_T,
)


@part("Adam")
def test_adam_first_steps(attempt, draw):
    """Three steps of one parameter: both averages are corrected, eps is added after the root."""
    own = {"lr": 0.5, "betas": (0.7, 0.9), "eps": 0.25}
    hold_first_steps(attempt, draw, Family("Adam", adam, {}, {}, ADAM_MISTAKES), own, zeros=NO_MEMORY)


@part("Adam")
@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_first_step_has_the_size_of_the_rate(attempt, draw, dtype):
    """Whether the gradient is 1e-10 or 1e12, the first step is lr · sign(g), and constant gradients keep it so."""
    signs = (draw.integers(0, 2, 9) * 2 - 1).to(of_type(dtype))
    sizes = torch.tensor([1e-10, 1e12, 1.0], dtype=of_type(dtype)).repeat(3)
    values = [torch.zeros(9, dtype=of_type(dtype))]
    script = [([signs * sizes], [{}])] * 3
    options = {"lr": 0.25, "eps": 1e-16}
    got = attempt.run(drivers.train, "Adam", values, [(None, options)], script)
    of = f"Adam, three times the gradient {[f'{x:g}' for x in (signs * sizes).tolist()]}, {dtype}"
    rule = lambda ps, gs, o, notes: -o["lr"] * len(gs) * signs.double()
    hold_run(got, values, [(None, options)], script, rule, of, tol=1e-5)


@part("Adam")
@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_follows_its_rule(attempt, draw, dtype):
    """Fifty steps of two groups with changing rates and missing gradients are what the formula says."""
    ADAM.follows(attempt, draw, dtype)


@part("Adam")
def test_adam_keeps_parameters_and_gradients(attempt, draw):
    """Parameters change in place, gradients are only read and never kept, what has no gradient is left alone."""
    ADAM.handles(attempt, draw)


@part("Adam")
def test_adam_resumes(attempt, draw):
    """A run saved after any step goes on as if it had not been cut: t is state, too."""
    ADAM.resumes(attempt, draw)


@part("Adam")
def test_adam_memory(attempt, draw):
    """Two tensors a parameter are remembered."""
    ADAM.remembers(attempt, draw, 2)


# --- AdamW ------------------------------------------------------------------------------------------------------------


def adamw(ps, gs, o, notes, *, decay="before"):
    lr, wd = o["lr"], o["weight_decay"]
    if decay == "coupled":
        return adam(ps, [g + wd * p for p, g in zip(ps, gs, strict=True)], o, notes)
    if decay == "after":
        return adam(ps, gs, o, notes) * (1 - lr * wd)
    shrink = {"before": 1 - lr * wd, "without the rate": 1 - wd, "none": 1.0, "squared": 1 - lr**2 * wd}[decay]
    return adam([ps[-1] * shrink], gs, o, notes)


ADAMW_MISTAKES = {
    "decay added to the gradient (L2)": variant(adamw, decay="coupled"),
    "decay after the step": variant(adamw, decay="after"),
    "decay that is not multiplied by the rate": variant(adamw, decay="without the rate"),
    "no decay": variant(adamw, decay="none"),
    "decay twice in each step": lambda ps, gs, o, notes: adamw(
        [ps[-1] * (1 - o["lr"] * o["weight_decay"])], gs, o, notes
    ),
}
ADAMW = Family(
    "AdamW",
    adamw,
    {"lr": 0.1, "betas": (0.8, 0.95), "eps": 0.1, "weight_decay": 0.3},
    {"lr": 0.2, "betas": (0.6, 0.99), "eps": 1e-3, "weight_decay": 0.05},
    ADAMW_MISTAKES,
)


@part("AdamW")
def test_adamw_by_hand(attempt):
    """From p = 2 with gradient 1 always, lr 0.1 and weight_decay 0.5, three steps lead to 1.43, not to 1.70."""
    values, options = [torch.tensor([2.0], dtype=torch.float64)], {"lr": 0.1, "weight_decay": 0.5, "eps": 1e-12}
    full = {**DEFAULTS["AdamW"], **options}
    script = [([torch.ones(1, dtype=torch.float64)], [{}])] * 3
    got = attempt.run(drivers.train, "AdamW", values, [(None, options)], script)
    agree(
        got[-1][0],
        torch.tensor([2 * 0.95**3 - 0.1 * (0.95**2 + 0.95 + 1)], dtype=torch.float64),
        of="AdamW from p = 2, gradient 1 always, lr 0.1, weight_decay 0.5, after 3 steps",
        known={
            name: (lambda w=wrong: run(values, [(None, full)], script, w)[-1][0])
            for name, wrong in ADAMW_MISTAKES.items()
            if "L2" not in name and name != "no decay"  # they give 1.70 both
        }
        | {"decay added to the gradient (L2), or none": torch.tensor([1.7], dtype=torch.float64)},
    )


@part("AdamW")
def test_adamw_first_steps(attempt, draw):
    """Three steps of one parameter: it shrinks by 1 - lr · weight_decay, then moves as Adam moves."""
    own = {"lr": 0.5, "betas": (0.7, 0.9), "eps": 0.25, "weight_decay": 0.3}
    hold_first_steps(attempt, draw, ADAMW, own, zeros=[*NO_MEMORY, {"weight_decay": 0.0}])


@part("AdamW")
@pytest.mark.parametrize("dtype", DTYPES)
def test_adamw_follows_its_rule(attempt, draw, dtype):
    """Fifty steps of two groups with changing rates and missing gradients are what the formula says."""
    ADAMW.follows(attempt, draw, dtype)


@part("AdamW")
def test_adamw_changes_its_decay(attempt, draw):
    """weight_decay is read in each step: a group may switch it off and on."""
    values, script = ADAMW.drawn(draw, 6)
    script = [(g, [c | {"weight_decay": 0.4 * (i % 2)} for c in changes]) for i, (g, changes) in enumerate(script)]
    got = attempt.run(drivers.train, "AdamW", values, ADAMW.groups, script)
    hold_run(got, values, ADAMW.groups, script, adamw, "AdamW with weight_decay 0, 0.4, 0, 0.4, ...", ADAMW_MISTAKES)


@part("AdamW")
def test_adamw_keeps_parameters_and_gradients(attempt, draw):
    """Parameters change in place, gradients are only read; what has no gradient is not decayed either."""
    ADAMW.handles(attempt, draw)


@part("AdamW")
def test_adamw_resumes(attempt, draw):
    """A run saved after any step goes on as if it had not been cut."""
    ADAMW.resumes(attempt, draw)


@part("AdamW")
def test_adamw_memory(attempt, draw):
    """Two tensors a parameter are remembered."""
    ADAMW.remembers(attempt, draw, 2)


# --- AMSGrad ----------------------------------------------------------------------------------------------------------


def all_squares(gs, beta):
    """The average of squares after every step: (t, ...)."""
    ages = torch.arange(len(gs))[:, None] - torch.arange(len(gs))
    weights = torch.where(ages >= 0, (1 - beta) * beta ** ages.clamp(min=0).double(), 0.0)
    return torch.tensordot(weights, torch.stack(gs) ** 2, dims=1)


def amsgrad(ps, gs, o, notes, *, top="raw"):
    beta1, beta2 = o["betas"]
    t = len(gs)
    m = weighted(gs, beta1) / (1 - beta1**t)
    ways = all_squares(gs, beta2)
    if top == "corrected":
        ways = ways / (1 - beta2 ** torch.arange(1, t + 1).double()).view(-1, *[1] * gs[-1].dim())
    v = (ways[-2:] if top == "last two" else ways).amax(dim=0)
    if top == "whole":
        v = v.max() + 0 * v
    return ps[-1] - o["lr"] * m / ((v / (1 if top in ("corrected", "never") else 1 - beta2**t)).sqrt() + o["eps"])


AMSGRAD_MISTAKES = {
    "Adam": adam,
    "a maximum of the corrected v": variant(amsgrad, top="corrected"),
    "no correction of the maximum": variant(amsgrad, top="never"),
    "one maximum for all entries": variant(amsgrad, top="whole"),
    "a maximum of the last two v only": variant(amsgrad, top="last two"),
    "a maximum that becomes the next v": lambda ps, gs, o, notes: _fed_back(ps, gs, o),
}
AMSGRAD = Family(
    "AMSGrad",
    amsgrad,
    {"lr": 0.1, "betas": (0.8, 0.7), "eps": 0.1},
    {"lr": 0.2, "betas": (0.6, 0.9), "eps": 1e-3},
    AMSGRAD_MISTAKES | {"one t for all parameters": lambda ps, gs, o, notes: _one_t(ps, gs, o, notes)},
)


def _fed_back(ps, gs, o):
    """max(v, new v) is averaged on."""
    beta1, beta2 = o["betas"]
    v = 0 * gs[-1]
    for g in gs:
        v = torch.maximum(v, beta2 * v + (1 - beta2) * g**2)
    t = len(gs)
    return ps[-1] - o["lr"] * weighted(gs, beta1) / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + o["eps"])


def _one_t(ps, gs, o, notes):
    beta1, beta2 = o["betas"]
    t = notes["call"]
    v = all_squares(gs, beta2).amax(dim=0)
    return ps[-1] - o["lr"] * weighted(gs, beta1) / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + o["eps"])


@part("AMSGrad")
def test_amsgrad_by_hand(attempt):
    """Gradients 4, 0, 1 with betas (0, 0.5): the maximum is 8, 8, 8 (v falls to 4 and 2.5)."""
    values, options = [torch.zeros(1, dtype=torch.float64)], {"lr": 1.0, "betas": (0.0, 0.5), "eps": 1e-12}
    script = [([torch.tensor([g], dtype=torch.float64)], [{}]) for g in (4.0, 0.0, 1.0)]
    got = attempt.run(drivers.train, "AMSGrad", values, [(None, options)], script)
    of = "AMSGrad with gradients 4, 0, 1, lr 1, betas (0, 0.5)"
    rule = lambda ps, gs, o, notes: ps[-1] - gs[-1] / math.sqrt(8 / (1 - 0.5 ** len(gs)))
    names = ("Adam", "no correction of the maximum", "a maximum of the last two v only")
    hold_run(got, values, [(None, options)], script, rule, of, {name: AMSGRAD_MISTAKES[name] for name in names})


@part("AMSGrad")
def test_amsgrad_first_steps(attempt, draw):
    """Four steps of one parameter, with gradients that shrink: the maximum is each entry's, of v as it is."""
    hold_first_steps(
        attempt,
        draw,
        Family("AMSGrad", amsgrad, {}, {}, AMSGRAD_MISTAKES),
        {"lr": 0.5, "betas": (0.7, 0.5), "eps": 0.25},
        steps=8,
        zeros=NO_MEMORY,
    )


@part("AMSGrad")
@pytest.mark.parametrize("dtype", DTYPES)
def test_amsgrad_follows_its_rule(attempt, draw, dtype):
    """Fifty steps of two groups with changing rates and missing gradients are what the formula says."""
    AMSGRAD.follows(attempt, draw, dtype)


@part("AMSGrad")
def test_amsgrad_keeps_parameters_and_gradients(attempt, draw):
    """Parameters change in place, gradients are only read and never kept, what has no gradient is left alone."""
    AMSGRAD.handles(attempt, draw)


@part("AMSGrad")
def test_amsgrad_resumes(attempt, draw):
    """A run saved after any step goes on as if it had not been cut: the maximum is state, too."""
    AMSGRAD.resumes(attempt, draw)


@part("AMSGrad")
def test_amsgrad_memory(attempt, draw):
    """Three tensors a parameter are remembered."""
    AMSGRAD.remembers(attempt, draw, 3)


# --- Lion -------------------------------------------------------------------------------------------------------------


def lion(ps, gs, o, notes, *, order="late", decay="decoupled", sign=True, swapped=False):
    beta1, beta2 = o["betas"][::-1] if swapped else o["betas"]
    m = weighted(gs if order == "early" else gs[:-1], beta2) + 0 * gs[-1]
    u = m if order == "early" else beta1 * m + (1 - beta1) * gs[-1]
    if order == "one beta":
        u = weighted(gs, beta1)
    u = u.sign() if sign else u
    shrink = 1 - o["lr"] * o["weight_decay"]
    if decay == "none":
        return ps[-1] - o["lr"] * u
    if decay == "after":
        return (ps[-1] - o["lr"] * u) * shrink
    return ps[-1] * shrink - o["lr"] * u


LION_MISTAKES = {
    "an m that is brought forward before the step": variant(lion, order="early"),
    "one β for the step and for the memory": variant(lion, order="one beta"),
    "the two betas exchanged": variant(lion, swapped=True),
    "no sign": variant(lion, sign=False),
    "no decay": variant(lion, decay="none"),
    "decay after the step": variant(lion, decay="after"),
    "the sign of the gradient": lambda ps, gs, o, notes: (
        ps[-1] * (1 - o["lr"] * o["weight_decay"]) - o["lr"] * gs[-1].sign()
    ),
}
LION = Family(
    "Lion",
    lion,
    {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.3},
    {"lr": 0.2, "betas": (0.6, 0.9), "weight_decay": 0.1},
    LION_MISTAKES,
)


def clear_signs(draw, steps, dtype):
    """Values and gradients for which no u is so near to 0 that rounding could turn its sign."""
    while True:
        values, script = LION.drawn(draw, steps, dtype)
        nearest = []

        def note(ps, gs, o, notes, nearest=nearest):
            u = o["betas"][0] * weighted(gs[:-1], o["betas"][1]) + (1 - o["betas"][0]) * gs[-1]
            nearest.extend(u.abs()[u != 0].tolist())  # 0 is 0 in every dtype
            return ps[-1]

        run(values, LION.groups, script, note)
        if min(nearest) > 3e-6:
            return values, script


@part("Lion")
def test_lion_by_hand(attempt):
    """betas (0.5, 0.75), gradients 1, -0.5, 0.25, 0: p falls, rises, falls, falls, however small the gradients are."""
    steps = [1.0, -0.5, 0.25, 0.0]
    sizes = torch.tensor([1.0, 0.0, 1e-200, -1e6], dtype=torch.float64)
    options = {"lr": 0.25, "betas": (0.5, 0.75)}
    script = [([g * sizes], [{}]) for g in steps]
    got = attempt.run(drivers.train, "Lion", [torch.zeros(4, dtype=torch.float64)], [(None, options)], script)
    for step, p in enumerate((-0.25, 0.0, -0.25, -0.5)):
        agree(
            got[step][0],
            p * sizes.sign(),
            axes="i",
            of=f"Lion from 0 with lr 0.25, betas (0.5, 0.75), after step {step + 1} with gradients {steps} "
            "times 1, 0, 1e-200 and -1e6",
        )


@part("Lion")
def test_lion_first_steps(attempt, draw):
    """Eight steps of one parameter: the sign mixes with β1, the memory with β2 afterwards, the decay is decoupled."""
    own = {"lr": 0.5, "betas": (0.7, 0.9), "weight_decay": 0.3}
    hold_first_steps(attempt, draw, LION, own, steps=8, zeros=NO_MEMORY)


@part("Lion")
@pytest.mark.parametrize("dtype", DTYPES)
def test_lion_follows_its_rule(attempt, draw, dtype):
    """Fifty steps of two groups with changing rates and missing gradients are what the formula says."""
    values, script = clear_signs(draw, 50, dtype)
    got = attempt.run(drivers.train, "Lion", values, LION.groups, script)
    of = f"Lion, two groups, 50 steps with changing rates and missing gradients, {dtype}"
    hold_run(got, values, LION.groups, script, lion, of, LION_MISTAKES)


@part("Lion")
def test_lion_keeps_parameters_and_gradients(attempt, draw):
    """Parameters change in place, gradients are only read and never kept, what has no gradient is left alone."""
    LION.handles(attempt, draw)


@part("Lion")
def test_lion_resumes(attempt, draw):
    """A run saved after any step goes on as if it had not been cut."""
    LION.resumes(attempt, draw)


@part("Lion")
def test_lion_memory(attempt, draw):
    """One tensor a parameter is remembered, half of Adam's two."""
    LION.remembers(attempt, draw, 1)


# --- newton_schulz ----------------------------------------------------------------------------------------------------

QUINTIC = (3.4445, -4.7750, 2.0315)


def polar(g, steps, coefficients=QUINTIC, divide=True):
    """The polynomial on the singular values alone, in float64."""
    u, s, vh = torch.linalg.svd(g.double(), full_matrices=False)
    s = s / max(float(s.square().sum().sqrt()), 1e-7) if divide else s
    a, b, c = coefficients
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return u @ torch.diag(s) @ vh


@part("newton_schulz")
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("shape", [(3, 7), (11, 5), (6, 6), (1, 4), (5, 1)], ids=str)
def test_singular_values_follow_the_polynomial(attempt, draw, shape, steps):
    """Each singular value of g / ‖g‖ goes through the polynomial, singular vectors stay: wide, tall, square."""
    g = draw.normal(*shape[::-1], scale=draw.random.uniform(0.2, 5.0)).T
    got = attempt.newton_schulz(g, steps)
    agree(
        got,
        polar(g, steps).reshape(shape),
        axes="m n",
        of=f"newton_schulz of a {shape} matrix, {steps} steps",
        known={
            "dividing by the largest singular value": lambda: polar(
                g / torch.linalg.matrix_norm(g, 2), steps, divide=False
            ),
            "the exact orthogonal matrix UVᵀ": lambda: _orthogonal(g),
            "the cubic iteration 1.5·x - 0.5·x(xᵀx)": lambda: polar(g, steps, (1.5, -0.5, 0.0)),
            "no division by the norm": lambda: polar(g, steps, divide=False),
            "the result transposed": lambda: polar(g, steps).T.contiguous(),
        }
        if steps and min(shape) > 1
        else None,
    )


def _orthogonal(g):
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    return u @ vh


@part("newton_schulz")
def test_five_steps_by_default(attempt, draw):
    """Without a number of steps there are five; float32 stays float32, not bfloat16."""
    g = draw.normal(5, 8, dtype=torch.float32)
    of = "newton_schulz of a (5, 8) float32 matrix, steps not given"
    agree(attempt.newton_schulz(g), polar(g, 5).float(), axes="m n", of=of, tol=1e-3)
    tall = draw.normal(9, 4, dtype=torch.float32)
    of = "newton_schulz of a (9, 4) float32 matrix, 3 steps"
    agree(attempt.newton_schulz(tall, steps=3), polar(tall, 3).float(), axes="m n", of=of, tol=1e-3)


@part("newton_schulz")
def test_zero_and_tiny_matrices(attempt, draw):
    """Zero gives zero, and a norm below 1e-7 is divided by 1e-7; a large one does not matter."""
    agree(
        attempt.newton_schulz(torch.zeros(3, 5), 5), torch.zeros(3, 5), axes="m n", of="newton_schulz of zeros (3, 5)"
    )
    direction = draw.normal(4, 7)
    for size in (1e-9, 3e-8, 5e-7, 1e12):
        g = direction * (size / direction.norm())
        of = f"newton_schulz of a (4, 7) matrix of norm {size:g}"
        known = {"1e-7 added to the norm": lambda g=g: polar(g / (g.norm() + 1e-7), 5, divide=False)}
        agree(attempt.newton_schulz(g, 5), polar(g, 5), axes="m n", of=of, known=known)


@part("newton_schulz")
def test_rank_is_kept(attempt, draw):
    """Directions that a matrix does not have stay at zero."""
    g = draw.normal(6, 2) @ draw.normal(2, 9)
    agree(
        attempt.newton_schulz(g, 5), polar(g, 5), axes="m n", of="newton_schulz of a (6, 9) matrix of rank 2", tol=1e-8
    )


@part("newton_schulz")
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("shape", [(173, 9), (9, 173), (97, 41)], ids=str)
def test_the_small_gram_matrix_is_used(attempt, draw, shape, grad):
    """A step takes at most 12·s²·l operations, s the smaller and l the larger side, and makes nothing larger than g."""
    g, steps = draw.normal(*shape), 3
    got, cost = attempt.cost(drivers.orthogonal, g, steps, grad)
    how = f"newton_schulz of a {shape} matrix{' that requires gradients' if grad else ''}, {steps} steps"
    agree(got, polar(g, steps), axes="m n", of=how)
    in_torch(cost, of=how)
    small, large = sorted(shape)
    known = {"products in the larger of the two sizes": steps * (4 * large**2 * small + 2 * large**3)}
    at_most(cost.flops, steps * 12 * small**2 * large, of=f"operations of {how}", known=known)
    at_most(
        cost.largest, small * large, of=f"elements of the largest tensor in {how}", known={"an l by l matrix": large**2}
    )


@part("newton_schulz")
def test_a_very_tall_matrix(attempt, draw):
    """A (16,384, 3) matrix is orthogonalised: its 16,384 by 16,384 products would not end."""
    g = draw.normal(16_384, 3)
    agree(attempt.newton_schulz(g, 5), polar(g, 5), axes="m n", of="newton_schulz of a (16,384, 3) matrix")


@part("newton_schulz")
def test_another_matrix_of_that_size(attempt, reference, draw):
    """Each call takes its own numbers, whatever came before in the same sizes."""
    asked = [(draw.normal(3, 7), 2) for _ in range(2)]
    hold_again(attempt, reference, "newton_schulz", *asked, of="newton_schulz of (3, 7), 2 steps", views=False)


# --- Muon -------------------------------------------------------------------------------------------------------------


def muon(ps, gs, o, notes, *, buffer="average", nesterov=None, scale="original", decay="before", orthogonal=polar):
    mu, lr = o["momentum"], o["lr"]
    nesterov = o["nesterov"] if nesterov is None else nesterov
    kept = weighted(gs, mu)
    ahead = mu * kept + (1 - mu) * gs[-1] if nesterov else kept
    if buffer == "sum":  # Jordan's first version, to whose scale the iteration is blind but for Nesterov
        total = kept / (1 - mu)
        ahead = gs[-1] + total if nesterov else total
    m, n = ps[-1].shape
    factor = {
        "original": math.sqrt(max(1, m / n)),
        "none": 1.0,
        "wide": math.sqrt(max(1, n / m)),
        "adam": 0.2 * math.sqrt(max(m, n)),
        "both": math.sqrt(m / n),
    }[scale]
    shrink = 1 - lr * o["weight_decay"] * (1 if decay == "before" else 0 if decay == "none" else factor)
    return ps[-1] * shrink - lr * factor * orthogonal(ahead, 5)


MUON_MISTAKES = {
    "no Nesterov momentum": variant(muon, nesterov=False),
    "Nesterov momentum always": variant(muon, nesterov=True),
    "no √max(1, m/n)": variant(muon, scale="none"),
    "√max(1, n/m), m and n exchanged": variant(muon, scale="wide"),
    "√(m/n) without the maximum": variant(muon, scale="both"),
    "0.2·√max(m, n), the factor that matches Adam's": variant(muon, scale="adam"),
    "decay scaled by √max(1, m/n) as well": variant(muon, decay="scaled"),
    "no decay": variant(muon, decay="none"),
    "no orthogonalisation: plain momentum": variant(muon, orthogonal=lambda g, steps: g),
    "momentum of the orthogonalised gradients": lambda ps, gs, o, notes: _orthogonal_first(ps, gs, o),
    "no momentum": lambda ps, gs, o, notes: muon(ps, gs[-1:], {**o, "momentum": 0.0}, notes),
}
MUON = Family(
    "Muon",
    muon,
    {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3},
    {"lr": 0.03, "momentum": 0.7, "nesterov": False, "weight_decay": 0.1},
    MUON_MISTAKES,
    shapes=MATRICES,
    tol32=2e-3,
)


def _orthogonal_first(ps, gs, o):
    m, n = ps[-1].shape
    us = [polar(g, 5) for g in gs]
    kept = weighted(us, o["momentum"])
    u = o["momentum"] * kept + (1 - o["momentum"]) * us[-1] if o["nesterov"] else kept
    return ps[-1] * (1 - o["lr"] * o["weight_decay"]) - o["lr"] * math.sqrt(max(1, m / n)) * u


@part("Muon")
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_first_steps(attempt, draw, nesterov):
    """Three steps of a tall and of a wide matrix: average, look ahead, orthogonalise, scale, decay."""
    values = values_of(draw, [(9, 4), (4, 9)])
    own = {"lr": 0.1, "momentum": 0.8, "nesterov": nesterov, "weight_decay": 0.5}
    script = [(gradients, [{}]) for gradients, _ in script_of(draw, values, 3)]
    groups = [(None, own)]
    right = "Nesterov momentum always" if nesterov else "no Nesterov momentum"
    known = {name: rule for name, rule in MUON_MISTAKES.items() if name != right}
    got = attempt.run(drivers.train, "Muon", values, groups, script)
    hold_run(got, values, groups, script, muon, f"Muon with {own} on a (9, 4) and a (4, 9) matrix, 3 steps", known)


@part("Muon")
def test_muon_by_default(attempt, draw):
    """Without options but the rate: momentum 0.95, Nesterov, weight_decay 0.1."""
    values = values_of(draw, [(5, 3), (3, 5)])
    script = [(gradients, [{}]) for gradients, _ in script_of(draw, values, 3)]
    known = {name: rule for name, rule in MUON_MISTAKES.items() if name != "Nesterov momentum always"}
    for own in ({"lr": 0.1}, {}, {"lr": 0.1, "momentum": 0.0}):
        got = attempt.run(drivers.train, "Muon", values, [(None, own)], script)
        groups = [(None, {**DEFAULTS["Muon"], **own})]
        of = f"Muon with {own} on a (5, 3) and a (3, 5) matrix, 3 steps"
        hold_run(got, values, groups, script, muon, of, known if len(own) == 1 else None)


@part("Muon")
@pytest.mark.parametrize("dtype", DTYPES)
def test_muon_follows_its_rule(attempt, draw, dtype):
    """Twenty steps of two groups with changing rates and missing gradients are what the formula says."""
    MUON.follows(attempt, draw, dtype, steps=20)


@part("Muon")
def test_muon_keeps_parameters_and_gradients(attempt, draw):
    """Parameters change in place, gradients are only read and never kept, what has no gradient is left alone."""
    MUON.handles(attempt, draw)


@part("Muon")
def test_muon_resumes(attempt, draw):
    """A run saved after any step goes on as if it had not been cut."""
    MUON.resumes(attempt, draw)


@part("Muon")
@pytest.mark.parametrize("shapes", [[(5,)], [(3, 4), ()], [(4, 3), (2, 3, 5)]], ids=str)
def test_muon_refuses_what_is_no_matrix(attempt, draw, shapes):
    """A vector, a scalar or a stack of matrices is a ValueError when the optimizer is made; matrices are not."""
    raised = attempt.run(drivers.refused, "Muon", values_of(draw, shapes), {"lr": 0.1})
    assert "ValueError" in raised, f"Muon on parameters of shapes {shapes}: expected ValueError, got {raised or 'none'}"
    raised = attempt.run(drivers.refused, "Muon", values_of(draw, [(3, 4), (5, 1)]), {"lr": 0.1})
    assert not raised, f"Muon on parameters of shapes (3, 4) and (5, 1) raised {raised[:1]}"


@part("Muon")
def test_muon_memory(attempt, draw):
    """One tensor a parameter is remembered."""
    MUON.remembers(attempt, draw, 1)


# --- Adafactor --------------------------------------------------------------------------------------------------------


def rms(x):
    return math.sqrt(float(x.square().mean()))


def history(times, decay):
    """The weights of each g² in an average whose β is 1 - t^decay at the given times."""
    weights = []
    for t in times:
        weights = [w * (1 - t**decay) for w in weights] + [t**decay]
    return weights


def adafactor(
    ps,
    gs,
    o,
    notes,
    *,
    factored=True,
    first_two=False,
    constant=None,
    one_t=False,
    divide="mean",
    clip=True,
    relative=True,
    after=False,
    cap=True,
):
    eps1, eps2 = o["eps"]
    eps1 = torch.finfo(o.get("dtype", torch.float64)).eps if eps1 is None else eps1
    times = notes["calls"] if one_t else range(1, len(gs) + 1)
    p, g, lr, t = ps[-1], gs[-1], o["lr"], times[-1]
    ages = range(len(gs) - 1, -1, -1)
    own = history(times, o["beta2_decay"])
    weights = own if constant is None else [(1 - constant) * constant**age for age in ages]
    v = torch.tensordot(torch.tensor(weights, dtype=torch.float64), torch.stack(gs) ** 2, dims=1)
    if p.dim() > 1 and factored:
        row, col = v.mean(dim=-1), v.mean(dim=-2)
        if first_two and p.dim() == 3:
            v = torch.einsum("an,bn->abn", v.mean(dim=1), v.mean(dim=0)) / v.mean(dim=(0, 1)).clamp(min=eps1)
        else:
            by = {"mean": row.mean(dim=-1), "sum": row.sum(dim=-1), "nothing": torch.ones(row.shape[:-1])}[divide]
            v = torch.einsum("...m,...n->...mn", row, col) / by.double().clamp(min=eps1)[..., None, None]
    u = g / v.sqrt().clamp(min=eps1)
    u = u / max(1.0, rms(u) / o["d"]) if clip else u
    shrunk = p * (1 - lr * o["weight_decay"])
    size = max(eps2, rms(shrunk if after else p)) if relative else 1.0
    return shrunk - (min(lr, t**-0.5) if cap else lr) * size * u


ADAFACTOR_MISTAKES = {
    "the whole second moment": variant(adafactor, factored=False),
    "row · col divided by the sum of row": variant(adafactor, divide="sum"),
    "row · col that is not divided": variant(adafactor, divide="nothing"),
    "no clipping of the update": variant(adafactor, clip=False),
    "a rate that does not grow with rms(p)": variant(adafactor, relative=False),
    "rms(p) after the decay": variant(adafactor, after=True),
    "a rate without its cap 1/√t": variant(adafactor, cap=False),
    "a constant β of 0.999": variant(adafactor, constant=0.999),
}
ADAFACTOR = Family(
    "Adafactor",
    adafactor,
    {"lr": 0.3, "beta2_decay": -0.8, "eps": (None, 1e-3), "d": 1.0, "weight_decay": 0.2},
    {"lr": 0.2, "beta2_decay": -0.5, "eps": (0.3, 0.9), "d": 1.1, "weight_decay": 0.1},
    ADAFACTOR_MISTAKES | {"one t for all parameters": variant(adafactor, one_t=True)},
    shapes=[(7,), (3, 5), (2, 3, 4), (), (2,)],
)


@part("Adafactor")
def test_adafactor_by_hand(attempt):
    """g = [[1, 2], [3, 6]]: v is g² itself, so that every entry falls by lr · rms(p)."""
    p = torch.tensor([[3.0, 4.0], [0.0, 5.0]], dtype=torch.float64)
    g = torch.tensor([[1.0, 2.0], [3.0, 6.0]], dtype=torch.float64)
    got = attempt.run(drivers.train, "Adafactor", [p], [(None, {"lr": 0.1})], [([g], [{}])])
    full = {**DEFAULTS["Adafactor"], "lr": 0.1}
    agree(
        got[0][0],
        p - 0.1 * math.sqrt(12.5),
        axes="m n",
        of="Adafactor with lr 0.1 from [[3, 4], [0, 5]] with gradient [[1, 2], [3, 6]], after 1 step",
        known={
            "row · col divided by the sum of row, without clipping": lambda: adafactor(
                [p], [g], full, {}, divide="sum", clip=False
            ),
            "a rate that does not grow with rms(p)": lambda: adafactor([p], [g], full, {}, relative=False),
        },
    )


@part("Adafactor")
@pytest.mark.parametrize("shape", [(3, 5), (7, 2), (2, 3, 4), (3, 2, 5, 4), (6,), (1, 4), (5, 1), ()], ids=str)
def test_adafactor_first_steps(attempt, draw, shape):
    """Four steps of one parameter: the last two axes are factored, vectors are not; clipped, relative, capped."""
    values = values_of(draw, [shape])
    own = {"lr": 0.6, "beta2_decay": -0.7, "eps": (1e-5, 1e-3), "d": 1.0, "weight_decay": 0.2}
    script = [(gradients, [{}]) for gradients, _ in script_of(draw, values, 4)]
    groups = [(None, own)]
    want = run(values, groups, script, adafactor)[-1][0]
    mistakes = ADAFACTOR_MISTAKES | {"factoring of the first two axes": variant(adafactor, first_two=True)}
    known = {
        name: rule
        for name, rule in mistakes.items()
        if len(shape) in (2, 3) and not torch.allclose(run(values, groups, script, rule)[-1][0], want)
    }
    got = attempt.run(drivers.train, "Adafactor", values, groups, script)
    hold_run(got, values, groups, script, adafactor, f"Adafactor with {own} on {shape}, 4 steps", known)


@part("Adafactor")
def test_adafactor_by_default(attempt, draw):
    """Without options but the rate: beta2_decay -0.8, eps (None, 1e-3), d 1, no decay."""
    values = values_of(draw, [(5, 3), (4,)])
    script = [(gradients, [{}]) for gradients, _ in script_of(draw, values, 5)]
    known = {name: rule for name, rule in ADAFACTOR_MISTAKES.items() if "decay" not in name}  # there is none
    for own in ({"lr": 0.9}, {}, {"lr": 0.9, "beta2_decay": 0.0}):
        got = attempt.run(drivers.train, "Adafactor", values, [(None, own)], script)
        groups = [(None, {**DEFAULTS["Adafactor"], **own})]
        of = f"Adafactor with {own}, 5 steps"
        hold_run(got, values, groups, script, adafactor, of, known if own == {"lr": 0.9} else None)


@part("Adafactor")
@pytest.mark.parametrize("dtype", DTYPES)
def test_adafactor_of_gradients_that_are_zero(attempt, dtype):
    """Rows of zeros, a zero gradient, a zero parameter: nothing is NaN, and the dtype's ε1 bounds both quotients."""
    kind = of_type(dtype)
    eps1 = torch.finfo(kind).eps
    p = torch.zeros(2, 3, dtype=kind)
    tiny = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], dtype=kind) * eps1 * 100
    script = [([g], [{}]) for g in (torch.zeros(2, 3, dtype=kind), tiny, tiny / 50, torch.zeros(2, 3, dtype=kind))]
    options = {"lr": 0.5, "d": 100.0}
    got = attempt.run(drivers.train, "Adafactor", [p], [(None, options)], script)
    groups = [(None, {**DEFAULTS["Adafactor"], **options, "dtype": kind})]
    of = f"Adafactor from zeros (2, 3), gradients 0, then about {eps1 * 100:.1g} with a row of zeros, {dtype}"
    hold_run(got, [p], groups, script, adafactor, of, tol=1e-5)


@part("Adafactor")
@pytest.mark.parametrize("dtype", DTYPES)
def test_adafactor_follows_its_rule(attempt, draw, dtype):
    """Fifty steps of two groups with changing rates and missing gradients are what the formula says."""
    ADAFACTOR.follows(attempt, draw, dtype)


@part("Adafactor")
def test_adafactor_keeps_parameters_and_gradients(attempt, draw):
    """Parameters change in place, gradients are only read and never kept, what has no gradient is left alone."""
    ADAFACTOR.handles(attempt, draw)


@part("Adafactor")
def test_adafactor_resumes(attempt, draw):
    """A run saved after any step goes on as if it had not been cut."""
    ADAFACTOR.resumes(attempt, draw)


@part("Adafactor")
def test_adafactor_memory(attempt, draw):
    """m + n numbers are remembered for an (m, n) matrix, not m · n."""
    ADAFACTOR.remembers(attempt, draw, 1, size=181 + 193)
