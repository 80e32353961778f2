"""Each function of each exercise in turn gives back something it does not promise: the message names it and what came.

GRADER_EVERY_FUNCTION=1 spoils every function of every exercise in each way, in place of a few of a few. Run as a
program with the id of an exercise, this file prints what is said of each.
"""

import ast
import json
import os
import sys

import pytest
from shared import UNLIKE, said

from grader.bank.catalog import find_house

EVERY = bool(os.environ.get("GRADER_EVERY_FUNCTION"))
FEW = 4

SPOILED = """

def _spoiled(function):
    import functools

    def other(value):
        {how}

    @functools.wraps(function)
    def called(*args, **kwargs):
        return other(function(*args, **kwargs))

    return called


{name} = _spoiled({name})
"""
WAYS = {
    "None": "return None",
    "one value": "return value[0] if isinstance(value, tuple) else value",
    "a list": "return list(value) if len(getattr(value, 'shape', ())) else value",
    "another dtype": """
        if hasattr(value, 'is_floating_point'):
            return value.double().half() if value.is_floating_point() else value
        return value.astype('float16') if hasattr(value, 'astype') and value.dtype.kind == 'f' else value""",
}


def functions(text, parts):
    """The functions and methods of some parts that give something back, as (part, `KVCache.append`)."""
    found = []
    for node in ast.parse(text).body:
        part = next((part.name for part in parts if getattr(node, "name", None) in part.names), None)
        if part and isinstance(node, ast.FunctionDef):
            found += [(part, node.name)] * gives_back(node)
        elif part and isinstance(node, ast.ClassDef):
            for method in node.body:
                public = isinstance(method, ast.FunctionDef) and (method.name[0] != "_" or method.name == "__call__")
                if public and not method.decorator_list and gives_back(method):
                    found.append((part, f"{node.name}.{method.name}"))
    return found


def gives_back(function):
    """Whether a function returns a value of its own, not that of a function inside it."""

    def returns(node):
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            return False
        return (isinstance(node, ast.Return) and node.value is not None) or any(
            map(returns, ast.iter_child_nodes(node))
        )

    return any(map(returns, function.body))


def spoiled(exercise, some):
    """(part, function, way, text) for each function of an exercise and each way to spoil what it gives back."""
    text = exercise.solution.read_text()
    made = [
        (part, name, way, text + SPOILED.format(how=how, name=name))
        for way, how in WAYS.items()
        for part, name in functions(text, exercise.parts)
    ]
    return made if some is None else [made[(i * len(made) // some + 3 * i) % len(made)] for i in range(some)]


def judged(id, some):
    """What the first failing check says of each: [[function, way, verdict, check, message]]."""
    from grader.judging.collected import collect_checks
    from grader.judging.pool import Variant, judge

    house = find_house()
    exercise = house.exercises[id]
    made = {f"{name} gives back {way}": (part, name, way, text) for part, name, way, text in spoiled(exercise, some)}
    variants = [Variant(key, text, first=(part,), stop_early=True) for key, (part, _, _, text) in made.items()]
    found = []
    for outcome in judge(collect_checks(house, exercise), variants, jobs=1, deadline=120):
        _, name, way, _ = made[outcome.variant.name]
        last = outcome.checks[-1]
        found.append([name, way, str(last.verdict), last.id, last.message or outcome.died])
    return found


def amiss(function, way, verdict, message):
    """What is missing in a message."""
    if verdict == "passed":  # it gives back no pair, no tensor, no float
        return way == "None" and "nothing notices"
    name = function.removesuffix(".__call__").rpartition(".")[2]  # a method's own name is enough in a line of theirs
    if way == "None" and ("None" not in message or name not in message):
        return "the name, and None"
    if way == "one value" and name not in message and ".py:" not in message:
        return "the name"
    return "could not be used" in message and "which function"


@pytest.mark.parametrize("id", find_house().exercises if EVERY else UNLIKE)
def test_a_message_names_the_function_that_gave_back_something_else(tmp_path, id):
    some = None if EVERY else FEW
    told = said([sys.executable, __file__, id, *([str(some)] if some else []), "--json"], tmp_path, 1200)
    wrong = {f"{name} {way}: {message}": amiss(name, way, verdict, message) for name, way, verdict, _, message in told}
    assert not {said for said, missing in wrong.items() if missing}


if __name__ == "__main__":
    found = judged(sys.argv[1], int(sys.argv[2]) if sys.argv[2:3] and sys.argv[2].isdigit() else None)
    if "--json" in sys.argv:
        print(json.dumps(found))
    else:
        for name, way, verdict, check, message in found:
            mark = amiss(name, way, verdict, message)
            print(f"{'MISSING ' + str(mark) if mark else 'fine'} | {name}: {way} | {verdict} | {check}\n    {message}")
