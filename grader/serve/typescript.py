"""Structs of msgspec as TypeScript, so that page and server cannot disagree about what passes between them."""

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

import msgspec

from grader.bank.catalog import House
from grader.bank.derived import Built
from grader.serve import wire
from grader.verdicts.verdict import Verdict

_WIDTH = 118
_HEAD = "// Written by `grader dev build` from grader/serve/wire.py. Do not edit.\n"
_PLAIN: dict[Any, str] = {int: "number", float: "number", str: "string", bool: "boolean", type(None): "null"}


def built(house: House) -> list[Built]:
    """`web/src/wire.ts` as it should be, in a house that holds the page's source."""
    path = house.root / "web" / "src" / "wire.ts"
    return [Built(path, wire_text())] if path.parent.is_dir() else []


def wire_text() -> str:
    """The text of `web/src/wire.ts`."""
    structs: dict[type, None] = {}
    for one in wire.SPOKEN:
        _gather(one, structs)
    union = "".join(f"\n  | {one.__name__}" for one in get_args(wire.AnyEvent))
    gone = f'/** {_doc_of_gone()} */\nexport const GONE = "{wire.GONE}";\n'
    verdict = "export type Verdict =" + "".join(f'\n  | "{one}"' for one in Verdict) + ";\n"
    return "\n".join([_HEAD, gone, verdict, *map(_interface, structs), f"export type AnyEvent ={union};\n"])


def _doc_of_gone() -> str:
    return _field_docs(inspect.getsource(wire))["GONE"]


def _gather(spoken: Any, found: dict[type, None]) -> None:
    """Every struct that a type holds, itself and those inside it first seen first."""
    if isinstance(spoken, type) and issubclass(spoken, msgspec.Struct):
        if spoken in found:
            return
        found[spoken] = None
        for hint in typing.get_type_hints(spoken).values():
            _gather(hint, found)
    for inner in get_args(spoken):
        _gather(inner, found)


def _interface(struct: type) -> str:
    documented = _docs(struct)
    lines = [*_comment(inspect.getdoc(struct) if struct.__doc__ else "", ""), f"export interface {struct.__name__} {{"]
    info: Any = msgspec.inspect.type_info(struct)
    if info.tag_field:
        lines.append(f'  {info.tag_field}: "{info.tag}";')
    hints = typing.get_type_hints(struct)
    for field in info.fields:
        lines += _comment(documented.get(field.name, ""), "  ")
        optional = "?" if issubclass(struct, wire.Asked) and not field.required else ""
        lines.append(f"  {field.encode_name}{optional}: {_type(hints[field.name])};")
    return "\n".join([*lines, "}", ""])


def _type(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Literal:
        return " | ".join(f'"{one}"' for one in inner)
    if origin in (typing.Union, types.UnionType):
        return "AnyEvent" if inner == get_args(wire.AnyEvent) else " | ".join(map(_type, inner))
    if origin in (list, tuple):
        one = _type(inner[0])
        return f"({one})[]" if " | " in one else f"{one}[]"
    if origin is dict:
        return f"Record<{_type(inner[0])}, {_type(inner[1])}>"
    if hint is Verdict or issubclass(hint, msgspec.Struct):
        return str(hint.__name__)
    raise TypeError(f"{hint} has no words in TypeScript yet")


def _comment(text: str | None, indent: str) -> list[str]:
    """A text as a comment of TypeScript."""
    if not text:
        return []
    one = f"{indent}/** {text} */"
    if "\n" not in text and len(one) <= _WIDTH:
        return [one]
    body = [
        line
        for raw in text.splitlines()
        for line in (textwrap.wrap(raw, _WIDTH - len(indent) - 3, break_on_hyphens=False) or [""])
    ]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in body), f"{indent} */"]


def _docs(struct: type) -> dict[str, str]:
    """Field to the docstring below it, also of the structs that it is made from."""
    found: dict[str, str] = {}
    for base in _bases(struct):
        found |= _field_docs(textwrap.dedent(inspect.getsource(base)))
    return found


def _bases(struct: type) -> Iterable[type]:
    return [
        base for base in reversed(struct.__mro__) if issubclass(base, msgspec.Struct) and base is not msgspec.Struct
    ]


def _field_docs(source: str) -> dict[str, str]:
    """Name to the string that stands below its assignment, at the top of a module or of its first class."""
    body = ast.parse(source).body
    if len(body) == 1 and isinstance(body[0], ast.ClassDef):
        body = body[0].body
    found = {}
    for field, below in pairwise(body):
        targets = field.targets if isinstance(field, ast.Assign) else [getattr(field, "target", None)]
        said = below.value if isinstance(below, ast.Expr) else None
        if isinstance(targets[0], ast.Name) and isinstance(said, ast.Constant) and isinstance(said.value, str):
            found[targets[0].id] = inspect.cleandoc(said.value)
    return found
