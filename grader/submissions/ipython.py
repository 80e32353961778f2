"""A cell of IPython as plain Python. Linear in the size of hostile text; IPython's own reader is not."""

import re
from collections.abc import Iterator

_RUN_HERE = ("time", "capture", "prun", "debug")
"""Cell magics that run the cell in the notebook's own namespace; what stands under any other is not of this file."""

_WRITES = ("writefile", "file")

# Possessive (`*+`) wherever two repeats meet: a line of a million spaces must not take a million squared.
_CELL_MAGIC = re.compile(r"\s*+%%(\S*+)([^\n]*+)(?:\n|\Z)")

_COMMAND = re.compile(r"[ \t]*+(?:[%!?]|[\w.]++\?{1,2}+[ \t]*+$|[\w.][\w., \t]*+=[ \t]*+[%!])", re.MULTILINE)
"""At the start of a statement: `%time f()`, `!ls`, `?f`, `f?`, `x = !ls`, `x = %sql ...`. None of them is Python."""

_NEXT = re.compile(r"#[^\n]*|\\\n|\"\"\"|'''|[\"'\[({\])}\n]")
"""What can begin or end a statement, a bracket or a string."""

_STRING_END = {
    '"""': re.compile(r'\\.|"""', re.DOTALL),
    "'''": re.compile(r"\\.|'''", re.DOTALL),
    '"': re.compile(r'\\.|["\n]', re.DOTALL),
    "'": re.compile(r"\\.|['\n]", re.DOTALL),
}


def file_written(cells: list[tuple[int, str]], stem: str) -> list[tuple[int, str]]:
    """What cells write into the learner's file: the last that begins it, and those after it that append."""
    pieces: list[tuple[int, str]] = []
    for number, source in cells:
        magic = _CELL_MAGIC.match(source)
        if magic is None or magic[1] not in _WRITES:
            continue
        words = magic[2].split()
        names = [word.strip("'\"").removeprefix("./") for word in words if not word.startswith("-")]
        if names == [f"{stem}.py"]:
            if "-a" not in words and "--append" not in words:
                pieces = []
            pieces.append((number, "\n" * source[: magic.end()].count("\n") + source[magic.end() :]))
    return pieces


def plain_python(source: str) -> str:
    """A cell as Python: as many lines as before, with `pass` for each command of IPython. Takes time linear in size."""
    begin = 0
    while magic := _CELL_MAGIC.match(source, begin):
        if magic[1] not in _RUN_HERE:
            return _commented(source)
        begin = magic.end()
    lines = _dedented(source[begin:].split("\n"))
    for number in _commands("\n".join(lines)):
        indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
        goes_on = lines[number].endswith("\\")
        lines[number] = f"{indent}pass  # {lines[number].strip()}"
        while goes_on and number + 1 < len(lines):
            number += 1
            goes_on = lines[number].endswith("\\")
            lines[number] = f"# {lines[number].strip()}"
    return _commented(source[:begin]) + "\n".join(lines)


def _dedented(lines: list[str]) -> list[str]:
    """The lines without what indents the first one, as IPython reads a cell that was pasted from inside a function."""
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    return [line.removeprefix(indent) for line in lines] if indent else lines


def _commented(source: str) -> str:
    return "".join(f"# {line}" for line in source.splitlines(keepends=True))


def _commands(source: str) -> Iterator[int]:
    """The lines, from 0, that begin with a command of IPython; not those inside a string or a bracket."""
    position = line = depth = 0
    while position < len(source):
        if depth == 0 and _COMMAND.match(source, position):
            yield line
            position, line = _end_of_command(source, position, line)
            continue
        position, line, depth = _end_of_line(source, position, line, depth)


def _end_of_command(source: str, position: int, line: int) -> tuple[int, int]:
    """Where the line after a command begins; one that ends in a backslash goes on."""
    while True:
        end = source.find("\n", position)
        if end < 0:
            return len(source), line
        line += 1
        if end == 0 or source[end - 1] != "\\":
            return end + 1, line
        position = end + 1


def _end_of_line(source: str, position: int, line: int, depth: int) -> tuple[int, int, int]:
    """Where the next line begins that is not the middle of a string, and may be the start of a statement."""
    while found := _NEXT.search(source, position):
        token, position = found[0], found.end()
        if token == "\n":
            return position, line + 1, depth
        if token == "\\\n":
            line += 1
        elif token in _STRING_END:
            end = position
            for inside in _STRING_END[token].finditer(source, position):
                end = inside.end()
                if inside[0] in (token, "\n"):
                    break
            else:
                end = len(source)
            if end > position and source[end - 1] == "\n" and len(token) == 1:
                end -= 1  # a string that its line cuts short: the line ends all the same
            line += source.count("\n", position, end)
            position = end
        elif token in "[({":
            depth += 1
        elif token in "])}":
            depth = max(0, depth - 1)
    return len(source), line, depth
