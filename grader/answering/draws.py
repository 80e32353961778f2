"""What a function makes of the generator that it is given: the same call, from generators in several states."""

import ctypes
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

_ADVANCED = 3
"""Numbers drawn beforehand from a generator that is not fresh."""


def _bytes(state: torch.Tensor) -> bytes:
    """Read where they lie: of a part that is written in numpy, no operation of torch's may run."""
    return ctypes.string_at(state.data_ptr(), state.nbytes)


class _Kind(NamedTuple):
    """A library's generators."""

    fresh: Callable[[int], Any]
    """One of a seed."""
    state: Callable[[Any], Any]
    """What two in an equal state have in common."""
    advance: Callable[[Any], Any]


_KINDS = {
    "generator": _Kind(
        fresh=lambda seed: torch.Generator().manual_seed(seed),
        state=lambda generator: _bytes(generator.get_state()),
        advance=lambda generator: torch.rand(_ADVANCED, generator=generator),
    ),
    "rng": _Kind(
        fresh=np.random.default_rng,
        state=lambda rng: rng.bit_generator.state,
        advance=lambda rng: rng.random(_ADVANCED),
    ),
}
"""By the name that a parameter for one has: torch's, and numpy's."""


def drawn(call: Callable[[Any], Any], seed: int, parameter: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of six calls, and what the first did. parameter: `generator` for torch's, `rng` for numpy's.

    Values: `first`, from a fresh generator; `again` and `third`, from the same one after it; `equal`, from another
    fresh one of the same seed, while torch, numpy and random are seeded otherwise; `later`, from one of the same seed
    that has given numbers before; `other`, from one of another seed.
    What it did: `moved`, the global states that it changed; `consumed`, whether its generator has another state than
    before it.
    """
    kind = _KINDS[parameter]
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        _seed_everything(1)
        start = _global_states()
        generator = kind.fresh(seed)
        fresh = kind.state(generator)
        values = {"first": call(generator)}
        moved = [name for name, state in _global_states().items() if state != start[name]]
        consumed = kind.state(generator) != fresh
        values["again"] = call(generator)
        values["third"] = call(generator)
        _seed_everything(2)
        values["equal"] = call(kind.fresh(seed))
        later = kind.fresh(seed)
        kind.advance(later)
        values["later"] = call(later)
        values["other"] = call(kind.fresh(seed + 1))
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
    return values, {"moved": moved, "consumed": consumed}


def _seed_everything(seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _global_states() -> dict[str, Any]:
    name, keys, position, *_ = np.random.get_state(legacy=True)
    return {
        "torch": _bytes(torch.get_rng_state()),
        "random": random.getstate(),
        "numpy": (name, np.asarray(keys).tobytes(), position),
    }
