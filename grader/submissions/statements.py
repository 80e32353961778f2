"""The statements of a notebook's cell that count: definitions, and what they need. Runs nothing."""

import ast
import symtable
from collections.abc import Callable, Iterable, Set

from grader.bank.source import lines_of

_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def counted(text: str, names: Set[str]) -> str:
    """The statements of a cell that count, in the lines where they stand; the lines of others are empty.

    A cell of a notebook also holds what somebody tried out. Functions and classes count always, any other statement
    only where it sets one of `names`. Of a line that two statements share, both count or none does.
    Raises SyntaxError.
    """
    wanted = {*names, "*"}
    return without(text, lambda node: not isinstance(node, _DEFINITIONS) and not _sets(node) & wanted)


def without(text: str, unwanted: Callable[[ast.stmt], bool]) -> str:
    """A text whose lines of unwanted statements are empty, but for those that share a line with one that is wanted.

    Raises SyntaxError.
    """
    lines, last, sharing = lines_of(text), 0, list[ast.stmt]()
    for node in [*ast.parse(text).body, None]:
        if node is None or _lines(node).start > last:  # statements that share lines stand one after the other
            if all(map(unwanted, sharing)):
                for line in {line for one in sharing for line in _lines(one)}:
                    lines[line - 1] = "\n"
            sharing = []
        if node is not None:
            sharing.append(node)
            last = max(last, _lines(node).stop - 1)
    return "".join(lines)


def _lines(node: ast.stmt) -> range:
    """The lines of a statement, from 1, those of its decorators with them."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
    return range(first, (node.end_lineno or node.lineno) + 1)


def needed(texts: Iterable[str], names: Set[str]) -> Set[str]:
    """`names`, what is read to define the functions and classes of the texts, and all that these depend on in turn.

    What only the body of an unused function reads is not among them. Raises SyntaxError.
    """
    found, steps = set(names), []
    for text in texts:
        bodies: dict[str, set[str]] = {}
        for table in symtable.symtable(text, "cell", "exec").get_children():
            bodies.setdefault(table.get_name(), set()).update(_globals_of(table))
        for node in ast.parse(text).body:
            if isinstance(node, _DEFINITIONS):
                found |= _reads_at_once(node)
                if node.decorator_list:
                    found.add(node.name)  # the decorator may keep it for a call
                steps.append(({node.name}, bodies.get(node.name, set())))
            else:
                steps.append((_sets(node), _reads(node)))
    size = 0
    while size < len(found):
        size = len(found)
        for sets, reads in steps:
            if sets & found:
                found |= reads
    return found


def _globals_of(table: symtable.SymbolTable) -> set[str]:
    found = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    return found.union(*map(_globals_of, table.get_children()))


def _reads_at_once(node: ast.stmt) -> set[str]:
    """The names that a statement reads when it runs; those in the body of a function are not read then."""
    if isinstance(node, ast.ClassDef):
        head = _reads(*node.bases, *node.keywords, *node.decorator_list)
        return head.union(*map(_reads_at_once, node.body))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _reads(*node.decorator_list, node.args, *([node.returns] if node.returns else []))
    return _reads(node)


def _reads(*nodes: ast.AST) -> set[str]:
    return {inner.id for node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def defined(text: str) -> set[str]:
    """The names that a cell's statements set at its top level. Raises SyntaxError."""
    return {name for node in ast.parse(text).body for name in _sets(node)}


def _sets(node: ast.stmt) -> set[str]:
    """The names that a statement defines or changes."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    found = {
        alias.asname or alias.name.split(".")[0]
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
        for alias in inner.names
    }
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute | ast.Subscript) and isinstance(inner.ctx, ast.Store):
            root: ast.expr = inner
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name):
                found.add(root.id)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(inner.name)
    return found
