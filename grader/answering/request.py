"""What a check asks of an attempt."""

from typing import Any, Literal

import msgspec


class Request(msgspec.Struct, frozen=True):
    """One question to an attempt; everything in it is data."""

    kind: Literal["call", "each", "cost", "gradients", "draws"]
    target: str
    """A public name of the learner's module, or of a driver."""
    driver: bool
    args: tuple[Any, ...]
    """For `each`: a tuple of the arguments of every call."""
    kwargs: dict[str, Any]
    upstream: Any = None
    """Of `gradients`, and of a `cost` that is to have the backward pass in it."""
    seed: int = 0
    """Of `draws`: the seed of the generators."""
    parameter: Literal["generator", "rng"] = "generator"
    """Of `draws`: the parameter that gets them, one of torch's or one of numpy's."""
    no_grad: bool = False
    """Of `each`: whether the last call is made under torch.no_grad."""
    calls: bool = False
    """Answer with what was called of the learner's code meanwhile, as in `calls.Call`, in place of the value."""
