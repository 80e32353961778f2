"""A script's answers in a released notebook, as a student would have typed them there."""

import copy

from grader.bank.layout import cells_of, layout_of
from grader.bank.source import BEGIN, END


def written(released, exercise, text):
    """The released notebook with a text's definitions in its answers, and what else it holds in cells of its own."""
    notebook = copy.deepcopy(released)
    cells = {marks(cell).get("grade_id"): cell for cell in notebook["cells"]}
    given = {cell.text.strip() for cell in layout_of(exercise) if not cell.is_answer}
    own = []
    plain = "".join(line for line in text.splitlines(keepends=True) if line.strip() not in (BEGIN, END))
    for cell in cells_of(plain, exercise.parts):
        if cell.id in cells and cell.is_answer:
            cells[cell.id]["source"] = cell.text.strip("\n")
        elif cell.text.strip() not in given:
            code = {"cell_type": "code", "id": f"own{len(own)}", "metadata": {}, "outputs": [], "execution_count": None}
            own.append({**code, "source": cell.text.strip("\n")})
    first = next(i for i, cell in enumerate(notebook["cells"]) if marks(cell).get("solution"))
    notebook["cells"][first:first] = own
    return notebook


def marks(cell):
    return cell["metadata"].get("nbgrader", {})
