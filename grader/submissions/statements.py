"""The statements of a notebook's cell that count: definitions, and what they need. Runs nothing."""

import ast
import symtable
import sys
from collections.abc import Callable, Iterable, Set

from grader.bank.source import lines_of, statement_lines

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
        if node is None or statement_lines(node).start > last:  # statements that share lines stand one after the other
            if all(map(unwanted, sharing)):
                for line in {line for one in sharing for line in statement_lines(one)}:
                    lines[line - 1] = "\n"
            sharing = []
        if node is not None:
            sharing.append(node)
            last = max(last, statement_lines(node).stop - 1)
    return "".join(lines)


_CHANGING = {"update", "setdefault", "append", "extend", "insert", "add", "pop", "remove", "clear", "sort", "reverse"}
"""Methods of lists, dicts and sets that change them."""
_TRIED = {"print", "display", "exit", "quit", "input", "help"}
_THERE = sys.stdlib_module_names | {"numpy", "torch"}
"""What an answer may import, by the first word of its name."""


def without_trials(text: str, names: Set[str]) -> str:
    """A script without what was only tried out at its top level, in the lines where it stands.

    Of `assert`, `print(...)` and `sys.exit()`, and of an import of another package than numpy, torch and the standard
    library that nothing of `names` needs, with the statements that use it (`plt.style.use("ggplot")`), none is to cost
    an answer: a notebook leaves them out too. All else is executed. A text that is no Python stays as it is.
    """
    try:
        body = ast.parse(text).body
        if not any(_is_trial(node) or _is_foreign(node) for node in body):
            return text  # as most are: what the answers need is then not worth the time to find out
        wanted = needed([text], names)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    gone, dropped = set[ast.stmt](), set[str]()
    for node in body:
        is_statement = not isinstance(node, _DEFINITIONS) and not _is_guard(node)
        is_useless = _is_trial(node) or _is_foreign(node) or (is_statement and _reads(node) & dropped)
        if is_useless and not _sets(node) & wanted:
            gone.add(node)
            dropped |= _sets(node)
    places = {(node.lineno, node.col_offset) for node in gone}
    return without(text, lambda node: (node.lineno, node.col_offset) in places) if gone else text


def _is_trial(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assert):
        return True
    match node:
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in _TRIED
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="sys"), attr="exit"))):
            return True
    return False


def _is_foreign(node: ast.stmt) -> bool:
    """Whether it imports what an answer may not."""
    if isinstance(node, ast.ImportFrom):
        return node.level > 0 or (node.module or "").split(".")[0] not in _THERE
    return isinstance(node, ast.Import) and any(alias.name.split(".")[0] not in _THERE for alias in node.names)


def _is_guard(node: ast.stmt) -> bool:
    """Whether it is `if __name__ == "__main__":`, which is executed in no grading."""
    return isinstance(node, ast.If) and "__name__" in _reads(node.test)


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
            found |= {root.id} if isinstance(root, ast.Name) else _sets_by_call(inner)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(inner.name)
        else:
            found |= _sets_by_call(inner)
    return found


def _sets_by_call(node: ast.AST) -> set[str]:
    """`setattr(KVCache, "append", append)` changes KVCache, `answer.update(a)` answer; `globals()["f"] = g` sets f."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in _CHANGING:
            return {name}
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[ast.Name(id=name), *_]):
            return {name}
        case ast.Subscript(value=ast.Call(func=ast.Name(id="globals")), slice=ast.Constant(value=str(name))):
            return {name}
    return set()
