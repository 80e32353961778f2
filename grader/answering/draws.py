"""What a function makes of the generator that it is given: the same call, from generators in several states."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_ADVANCED = 3
"""Numbers drawn beforehand from a generator that is not fresh."""


def drawn(call: Callable[[torch.Generator], Any], seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of six calls, and what the first did.

    Values: `first`, from a fresh generator; `again` and `third`, from the same one after it; `equal`, from another
    fresh one of the same seed, while torch, numpy and random are seeded otherwise; `later`, from one of the same seed
    that has given numbers before; `other`, from one of another seed.
    What it did: `moved`, the global states that it changed; `consumed`, whether its generator has another state than
    before it.
    """
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        _seed_everything(1)
        start = _global_states()
        generator = torch.Generator().manual_seed(seed)
        fresh = generator.get_state()
        values = {"first": call(generator)}
        moved = [name for name, state in _global_states().items() if state != start[name]]
        consumed = not torch.equal(generator.get_state(), fresh)
        values["again"] = call(generator)
        values["third"] = call(generator)
        _seed_everything(2)
        values["equal"] = call(torch.Generator().manual_seed(seed))
        later = torch.Generator().manual_seed(seed)
        torch.rand(_ADVANCED, generator=later)
        values["later"] = call(later)
        values["other"] = call(torch.Generator().manual_seed(seed + 1))
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
        "torch": torch.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
        "numpy": (name, np.asarray(keys).tobytes(), position),
    }
