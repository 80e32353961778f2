"""What a student wrote, as tokens that show a copy whose names, comments and order of functions were changed.

Runs nothing. What was handed out is taken away first: in each function the statements that stand in the stub, too.
"""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from grader.submissions import bounded

Own = dict[str, list[str]]
"""The tokens of each function of the stub that was begun (`KVCache.append`), and of all else under `ELSEWHERE`."""
ELSEWHERE = ""
MOST_TOKENS = 1000
"""Of one function. The solutions' longest has 400, and comparing takes time with the square of the length."""
_A_NAME = "name"
_A_TEXT = "text"
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Text(msgspec.Struct, frozen=True):
    """A text, and the stub that it was begun from."""

    text: str
    stub: str


def own_tokens(texts: Sequence[str], stub: str) -> list[Own]:
    """Of each text what its student wrote; nothing of one that is no Python, or takes too long to read."""
    given = [_Text(text, stub) for text in texts]
    return list(bounded.each(_own, given, Own, lambda one, said: {}))


def _own(one: _Text) -> Own:
    try:
        mine, handed_out = _functions(one.text), _functions(one.stub)
        found: dict[str, list[str]] = {}
        for name, statements in mine.items():
            written = _without(statements, handed_out.get(name, []))
            found.setdefault(name if name in handed_out else ELSEWHERE, []).extend(written)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {name: tokens[:MOST_TOKENS] for name, tokens in found.items() if tokens}


def _functions(text: str) -> dict[str, list[tuple[str, ...]]]:
    """The functions and methods of a file to the tokens of each statement; imports are left out."""
    tree = ast.parse(text)
    own = _bound(tree)
    return {
        name: [tokens for node in body if (tokens := tuple(_tokens(node, own)))] for name, body in _bodies(tree).items()
    }


def _bodies(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {ELSEWHERE: []}
    for node in tree.body:
        if isinstance(node, _Function):
            found[node.name] = node.body
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, _Function):
                    found[f"{node.name}.{inner.name}"] = inner.body
                else:
                    found[ELSEWHERE].append(inner)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            found[ELSEWHERE].append(node)
    return found


def _without(written: Iterable[tuple[str, ...]], handed_out: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The tokens of the statements that were not handed out, each as often as it was."""
    left = Counter(handed_out)
    for tokens in written:
        if left[tokens]:
            left[tokens] -= 1
        else:
            yield from tokens


def _bound(tree: ast.Module) -> set[str]:
    """Every name that a file binds itself; the attributes that it sets, with a dot before them."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names |= {name, f".{name}"}
            case ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(f".{name}")
            case ast.alias(name=name, asname=given):
                names.add(given or name.partition(".")[0])
    return names


def _tokens(node: ast.AST, own: set[str]) -> Iterator[str]:
    """A statement's tokens, from the outside in. own: the names that its file binds, all of which read alike."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Pass():  # a docstring, or nothing
            return
        case ast.Name(id=name):
            yield _A_NAME if name in own else name
        case ast.arg():
            yield _A_NAME
        case ast.Constant(value=value):
            yield _A_TEXT if isinstance(value, str | bytes) else repr(value)
        case ast.Attribute(value=value, attr=name):
            yield from _tokens(value, own)
            yield _A_NAME if f".{name}" in own else f".{name}"
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield from _tokens(ast.Assign([target], value), own)
        case ast.AnnAssign():
            return
        case ast.Expr(value=value):
            yield from _tokens(value, own)
        case ast.expr_context():
            return
        case _:
            yield type(node).__name__
            if isinstance(node, _Function):
                node = ast.Module([*node.decorator_list, *_arguments(node), *node.body], [])  # type: ignore[list-item]  # no names, no annotations
            for inner in ast.iter_child_nodes(node):
                yield from _tokens(inner, own)


def _arguments(node: _Function) -> list[ast.AST]:
    given = node.args
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *given.defaults, *filter(None, given.kw_defaults)]
