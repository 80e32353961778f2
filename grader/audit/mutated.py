"""A drill's formula with one mistake in it: the second computation must tell it from the right one."""

import ast
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar

from grader.drills.draw import Draw
from grader.drills.question import Question, Variant
from grader.drills.same import close
from grader.drills.value import Unread, value_of

_SECONDS = 2.0
_LARGE = 1000
_SWAPS: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.Add(), ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Mult(), ast.Mod: ast.FloorDiv(), ast.Pow: ast.Mult(),
}  # fmt: skip
_WITHOUT_ONE = ast.Add | ast.Mult
T = TypeVar("T", bound=ast.AST)


class TooLong(Exception):
    """A computation that takes more than its time."""


class Formula:
    """The source of a question's answer: its function, and the functions of its file that it uses."""

    def __init__(self, question: Question, tree: ast.Module) -> None:
        self.question = question
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.make = deepcopy(functions[question.name])
        self.make.decorator_list = []
        marked = [node.name for node in functions.values() if node.decorator_list]
        self.helpers = {name: deepcopy(node) for name, node in functions.items() if name not in marked}
        self.second = next((node for node in tree.body if _is_second(node, question.name)), None)

    def shared(self) -> list[str]:
        """Functions of the file that both computations use."""
        if self.second is None:
            return []
        return sorted(self._helpers_of(self.make) & self._helpers_of(self.second))

    def is_repeated(self) -> bool:
        """Whether the second computation is the formula again."""
        body = getattr(self.second, "body", [None])
        own = [ast.dump(one) for one in self._answers()]
        return len(body) == 1 and isinstance(body[0], ast.Return) and ast.dump(body[0].value or body[0]) in own

    def mutants(self) -> Iterator[tuple[str, ast.FunctionDef]]:
        """Each mutant: what is changed, and the whole function with the change."""
        for function, formulas in self._places():
            for node in (node for one in formulas for node in _arithmetic(one)):
                for said, changed in _changes(node):
                    yield said, _with(function, node, changed)

    def _places(self) -> Iterator[tuple[ast.FunctionDef, list[ast.expr]]]:
        yield self.make, self._formulas(self.make, self._answers())
        for name in sorted(self._used_helpers()):
            helper = self.helpers[name]
            values = [node.value for node in ast.walk(helper) if isinstance(node, ast.Return) and node.value]
            yield helper, self._formulas(helper, values)

    def _answers(self) -> list[ast.expr]:
        """What stands behind `answer=` where a question is returned."""
        return [one.value for call in self._returned() for one in call.keywords if one.arg == "answer"]

    def _returned(self) -> list[ast.Call]:
        found = [node.value for node in ast.walk(self.make) if isinstance(node, ast.Return)]
        return [one for one in found if isinstance(one, ast.Call)]

    def _formulas(self, function: ast.FunctionDef, values: Sequence[ast.expr]) -> list[ast.expr]:
        """Expressions and, in turn, what the names in them are made of; but nothing drawn, and nothing given."""
        given = {
            name
            for call in self._returned()
            for one in call.keywords
            if one.arg == "given"
            for name in _names(one.value)
        }
        found, waiting, seen = list[ast.expr](), list(values), set(given if function is self.make else ())
        while waiting:
            value = waiting.pop()
            found.append(value)
            for name in _names(value) - seen:
                seen.add(name)
                waiting += [one for one in _assigned(function, name) if not _draws(one)]
        return found

    def _used_helpers(self) -> set[str]:
        used = set[str]()
        for one in self._formulas(self.make, self._answers()):
            used |= _names(one) & set(self.helpers)
        waiting = list(used)
        while waiting:
            more = (self._helpers_of(self.helpers[waiting.pop()])) - used
            used |= more
            waiting += more
        return used

    def _helpers_of(self, node: ast.AST) -> set[str]:
        return _names(node) & set(self.helpers)


def survivors(formula: Formula, variants: Sequence[Variant], seconds: Sequence[Any]) -> tuple[list[str], int]:
    """The mutants that give what the second computation gives on all variants, and how many were tried."""
    if _is_caught(formula, deepcopy(formula.make), variants, seconds):
        return ["none, since its function cannot be run by itself"], 0
    left, tried = [], 0
    for said, function in formula.mutants():
        tried += 1
        if not _is_caught(formula, function, variants, seconds):
            left.append(said)
    return left, tried


def _is_caught(
    formula: Formula, function: ast.FunctionDef, variants: Sequence[Variant], seconds: Sequence[Any]
) -> bool:
    space = formula.question.make.__globals__
    code = compile(ast.fix_missing_locations(ast.Module([function], [])), "<mutant>", "exec")
    mutated = dict(space)
    exec(code, mutated)
    is_helper = function.name != formula.question.name
    if is_helper:  # both computations meet it, so that one which both use is not caught
        kept, space[function.name] = space[function.name], mutated[function.name]
    make = formula.question.make if is_helper else mutated[function.name]
    try:
        for one, second in zip(variants, seconds, strict=True):
            with within(_SECONDS):
                asked = make(Draw(one.drawn_from))
                if is_helper and formula.question.computed is not None:
                    second = formula.question.computed(**asked.given)
            answer: Any = asked.answer
            if not close(answer, second, 1e-6):
                return True
    except Exception:  # of a mutant, anything may come: it is seen
        return True
    finally:
        if is_helper:
            space[function.name] = kept
    return False


def gap_survivors(variants: Sequence[Variant], seconds: Sequence[Any]) -> tuple[list[str], int]:
    """The same of formulas in a gap, whose mutants are texts."""
    mutants = [list(_texts(str(one.asked.answer))) for one in variants]
    left, tried = [], min(map(len, mutants))
    for place in range(tried):
        texts = [some[place] for some in mutants]
        if all(_gives(text, one, second) for (_, text), one, second in zip(texts, variants, seconds, strict=True)):
            left.append(texts[0][0])
    return left, tried


def _texts(formula: str) -> Iterator[tuple[str, str]]:
    tree = ast.parse(formula.replace("^", "**"), mode="eval")
    for node in list(_arithmetic(tree.body)):
        for said, changed in _changes(node):
            yield said, ast.unparse(_with(tree, node, changed))


def _gives(text: str, one: Variant, second: float) -> bool:
    try:
        return close(value_of(text, one.asked.given), second, 1e-6)
    except Unread:
        return False


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TooLong in what takes more time of the processor. In the main thread alone."""

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _changes(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    here = f"`{ast.unparse(node)}`"
    if isinstance(node, ast.Constant):
        value: Any = node.value
        other = value + 1 if abs(value) < _LARGE else 2 * value
        yield f"`{other!r}` for {here}", ast.Constant(other)
    if isinstance(node, ast.BinOp):
        swapped = ast.BinOp(node.left, _SWAPS[type(node.op)], node.right)
        yield f"`{ast.unparse(swapped)}` for {here}", swapped
        yield f"{here} without `{ast.unparse(node.right)}`", node.left
        if isinstance(node.op, _WITHOUT_ONE):
            yield f"{here} without `{ast.unparse(node.left)}`", node.right


def _arithmetic(value: ast.expr) -> Iterator[ast.expr]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node
        if isinstance(node, ast.BinOp) and type(node.op) in _SWAPS:
            yield node


def _with(tree: T, node: ast.expr, changed: ast.expr) -> T:
    """A copy of a tree with one node changed. The node stays in the original."""

    class Put(ast.NodeTransformer):
        def visit(self, seen: ast.AST) -> Any:
            if seen is node:
                return deepcopy(changed)
            fields = {name: self.put(value) for name, value in ast.iter_fields(seen)}
            return ast.copy_location(type(seen)(**fields), seen) if hasattr(seen, "lineno") else type(seen)(**fields)

        def put(self, value: Any) -> Any:
            if isinstance(value, list):
                return [self.put(one) for one in value]
            return self.visit(value) if isinstance(value, ast.AST) else value

    mutated: T = Put().visit(tree)
    return mutated


def _is_second(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        ast.unparse(decorator) == f"{name}.second" for decorator in node.decorator_list
    )


def _assigned(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    """What a name of a function is made of."""
    for node in ast.walk(function):
        targets = (
            node.targets if isinstance(node, ast.Assign)
            else [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
        )  # fmt: skip
        for target in targets:
            if name in _names(target) and isinstance(node.value, ast.expr):  # type: ignore[attr-defined]
                yield node.value  # type: ignore[attr-defined]


def _draws(value: ast.expr) -> bool:
    return "draw" in _names(value)


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
