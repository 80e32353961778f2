"""The visible examples of an exercise, `test_examples.py`: which of them belong to which part. Runs nothing."""

import ast

from grader.bank.catalog import Exercise, Part


def examples_of(text: str, exercise: Exercise, part: Part) -> list[str]:
    """The example tests whose last part, of all that they use directly or through a helper, is this one."""
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    uses = {
        name: {
            n.id if isinstance(n, ast.Name) else n.attr
            for n in ast.walk(node)
            if isinstance(n, ast.Name | ast.Attribute)
        }
        for name, node in functions.items()
    }
    for name in functions:
        for helper in list(uses[name] & functions.keys() - {name}):
            uses[name] |= uses[helper]
    later = {name for p in exercise.parts[exercise.parts.index(part) + 1 :] for name in p.names}
    return [
        name
        for name in functions
        if name.startswith("test_") and uses[name] & set(part.names) and not uses[name] & later
    ]
