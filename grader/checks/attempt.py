"""What a check talks to: an attempt answers questions about data with data."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from grader.answering.cost import Cost
from grader.answering.request import Request

Ask = Callable[[Request], Any]


class Attempt:
    """The code under test. `attempt.attend(q, k, v)` calls its public function `attend`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self._ask(Request("call", name, False, args, kwargs))

    def run(self, driver: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a driver beside the learner's code, with their module and this data; returns what it returns."""
        return self._ask(Request("call", driver.__name__, True, args, kwargs))

    def each(
        self, target: str | Callable[..., Any], rows: Iterable[tuple[Any, ...]], *, no_grad: bool = False, **kwargs: Any
    ) -> list[Any]:
        """The value for each row of arguments. One question, since each costs as much as a small answer.

        no_grad: the last call is made under torch.no_grad.
        """
        request = Request("each", *_named(target), tuple(rows), kwargs, no_grad=no_grad)
        return self._ask(request)  # type: ignore[no-any-return]

    def cost(
        self, target: str | Callable[..., Any], *args: Any, upstream: Any = None, **kwargs: Any
    ) -> tuple[Any, Cost]:
        """The value of a call, and what it cost. target: a public name, called under `no_grad`, or a driver.

        With upstream the call is asked as `gradients` asks it: the value is (value, grads), and the cost that of the
        call and of its backward pass.
        """
        value, counted = self._ask(Request("cost", *_named(target), args, kwargs, upstream))
        return value, Cost(**counted)

    def gradients(
        self, target: str | Callable[..., Any], *args: Any, upstream: Any, **kwargs: Any
    ) -> tuple[Any, list[Any]]:
        """The value of a call, and the gradient of sum(value * upstream) for each argument, None where it has none."""
        value, grads = self._ask(Request("gradients", *_named(target), args, kwargs, upstream))
        return value, grads

    def draws(
        self,
        target: str | Callable[..., Any],
        *args: Any,
        seed: int,
        parameter: Literal["generator", "rng"] = "generator",
        **kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a call gives that takes a generator, from several generators, and what it did to them: see `draws`."""
        values, did = self._ask(Request("draws", *_named(target), args, kwargs, seed=seed, parameter=parameter))
        return values, did


def _named(target: str | Callable[..., Any]) -> tuple[str, bool]:
    return (target, False) if isinstance(target, str) else (target.__name__, True)
