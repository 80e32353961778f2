"""Nearly the same texts: copies in disguise are found, honest work is not, and nobody is accused."""

import ast
import builtins
import csv
import html
import random
import shutil

import pytest

from conftest import HERE, ID
from grader.bank.catalog import find_house
from grader.bank.derived import stub_of
from grader.bank.source import definition, read_source, replace_definition
from grader.classroom import alike
from grader.classroom.alike import nearly_alike, pairs, told
from grader.submissions.find import Submission
from grader.submissions.own import own_tokens

REAL = find_house(HERE)
UNCERTAINTY = REAL.exercises["dl_026_uncertainty"]
SOLUTION, STUB = read_source(UNCERTAINTY.solution), stub_of(UNCERTAINTY)
ANOTHER = (HERE / "classroom" / "honest_uncertainty.txt").read_text()
"""What a second author wrote from the statement alone."""


class Disguise(ast.NodeTransformer):
    """Other names for what a file binds inside its functions, and no docstring, no annotation."""

    def __init__(self, tree):
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        given = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        self.names = {
            name: f"z{number}" for number, name in enumerate(sorted(stored | given)) if name not in dir(builtins)
        }

    def visit_Name(self, node):
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node):
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        return ast.Assign([node.target], node.value, lineno=1) if node.value else ast.Pass()

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = None
        if isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant) and len(node.body) > 1:
            node.body = node.body[1:]
        return node


def disguised(text):
    """A copy with other names, without comments, its functions in another order."""
    tree = Disguise(ast.parse(text)).visit(ast.parse(text))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    tree.body = imports + [node for node in tree.body if node not in imports][::-1]
    return "# all my own work\n" + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def class_of(**texts):
    return [Submission(student, UNCERTAINTY.id, text) for student, text in texts.items()]


def test_a_copy_in_disguise_is_something_to_look_at():
    copy = disguised(SOLUTION)
    assert len(set(SOLUTION.splitlines()) & set(copy.splitlines())) < len(copy.splitlines()) / 3
    [said] = told(REAL, class_of(ann=SOLUTION, bob=copy, cyd=ANOTHER))
    assert said.startswith("dl_026_uncertainty: look at ann and bob together. 100% of what they wrote is the same, but")
    assert "honest" in said
    for word in ("copied", "cheat", "plagiar"):
        assert word not in said


def test_a_copy_of_what_another_has_written_of_it_is_found():
    """Of ten parts the second has begun eight, one of them on their own."""
    text = disguised(SOLUTION)
    for name in ("ood_scores", "detection_rates"):
        text = replace_definition(text, name, definition(STUB, name))
    text = replace_definition(text, "decompose", definition(ANOTHER, "decompose"))
    [group] = nearly_alike(REAL, class_of(ann=SOLUTION, bob=text))
    assert 0.93 <= group.share < 1


def test_honest_answers_are_not_listed():
    """Two authors' whole exercise; and each part alone, which is short enough to come out alike."""
    assert not nearly_alike(REAL, class_of(ann=SOLUTION, bob=ANOTHER))
    assert nearly_alike(REAL, class_of(ann=ANOTHER, bob=disguised(ANOTHER))), "that text would be known again"
    for part in UNCERTAINTY.parts:
        texts = {}
        for student, text in (("ann", SOLUTION), ("bob", disguised(SOLUTION))):
            texts[student] = STUB
            for name in part.names:
                texts[student] = replace_definition(texts[student], name, definition(text, name))
        assert texts["ann"] != texts["bob"]
        assert not nearly_alike(REAL, class_of(**texts)), part.name


def test_what_was_handed_out_is_nobodys():
    begun = STUB.replace("import math\n", "import math\nimport random\n")
    assert begun != STUB
    assert own_tokens([STUB, begun, disguised(STUB)], STUB) == [{}, {}, {}]
    longer = STUB + "\n\nTRIED = 1\n"
    [own] = own_tokens([longer], STUB)
    assert list(own) == [""], "all that was written stands outside of the stub's functions"
    assert len(own[""]) == 3


def test_given_statements_in_a_function_that_was_begun_are_not_counted():
    stub = "def f(x):\n    a, b = x.shape\n    raise NotImplementedError  # TODO: your code\n"
    [own] = own_tokens(["def f(y):\n    m, n = y.shape\n    return m * n\n"], stub)
    assert "Return" in own["f"]
    assert ".shape" not in own["f"]


@pytest.mark.parametrize("text", ["def f(:\n", "x\0", "x = " + "(" * 5000, "x = " + "-" * 20_000 + "1", ""])
def test_what_is_no_python_is_compared_with_nothing(text):
    assert own_tokens([text, "def g():\n    return 1\n"], STUB) == [{}, {"": ["Return", "1"]}]


def test_of_a_long_text_the_beginning_is_compared():
    [own] = own_tokens(["def f():\n    return [" + "1, " * 100_000 + "]\n"], STUB)
    assert len(own[""]) == 1000


def drawn(generator, count):
    return [f"t{generator.randrange(200)}" for _ in range(count)]


def class_drawn(students):
    """A class in which all write `easy` alike, and each `hard` in their own way; the last copied from the first."""
    generator = random.Random(1)
    easy = drawn(generator, 450)
    owns = [{"easy": easy, "hard": drawn(generator, 300)} for _ in range(students - 1)]
    return [*owns, {**owns[0], "hard": list(owns[0]["hard"])}]


def test_what_the_whole_class_writes_alike_says_nothing():
    owns = [{"easy": own["easy"]} for own in class_drawn(30)]
    assert len(list(pairs(owns[:2]))) == 1, "of two students nobody knows what is usual"
    assert list(pairs(owns)) == []
    assert list(pairs(class_drawn(30))) == [], "of the rest the two have too little in common"
    longer = [{**own, "hard": own["hard"] * 2} for own in class_drawn(30)]
    assert list(pairs(longer)) == [(0, 29, 1.0)]


def test_a_large_class_is_compared_in_pieces(monkeypatch):
    owns = [{"hard": own["hard"] * 2} for own in class_drawn(40)]
    monkeypatch.setattr(alike, "_ROWS", 7)
    assert list(pairs(owns)) == [(0, 39, 1.0)]


def test_a_copy_of_a_copy_is_in_one_group():
    more = SOLUTION.replace("import math\n", "import math\n\nSMALL = 1e-6\n")
    groups = nearly_alike(REAL, class_of(dan=more, ann=SOLUTION, bob=disguised(SOLUTION), cyd=SOLUTION, eve=ANOTHER))
    assert [group.students for group in groups] == [["ann", "bob", "cyd", "dan"]]
    assert not nearly_alike(REAL, class_of(ann=SOLUTION, cyd=SOLUTION)), "letter for letter is said elsewhere"


HELPER = "def scaled_{name}({x}):\n" + "".join(
    f"    # of {{name}}\n    {{y}}{number} = {{x}} * {number} + torch.ones({number % 7 + 1}).sum() / {number + 3}\n"
    for number in range(50)
)
"""Long enough to be compared, in a house whose exercise is not."""


def test_the_report_names_who_wrote_nearly_the_same(home):
    for student, names in (("ann", ("mine", "x", "y")), ("bob<b>", ("own", "value", "step"))):
        folder = home.root / "submitted" / student / ID
        folder.mkdir(parents=True)
        helper = HELPER.format(name=names[0], x=names[1], y=names[2])
        (folder / "running_mean.py").write_text(f"{home.solution}\n\n{helper}")
    (home.root / "submitted" / "cyd" / ID).mkdir(parents=True)
    shutil.copy(home.root / "solutions" / ID / "running_mean.py", home.root / "submitted" / "cyd" / ID)
    for number in (1, 2):
        home.grader("grade", "submitted", "--out", f"out.{number}", "--seed", "7", "--shard", f"{number}/2")
    assert home.grader("merge", "out.1", "out.2", "--out", "results").code == 0

    def eyes():
        done = home.grader("class", "report", "results", "-o", "report.html")
        assert done.code == 0, done.said
        page = (home.root / "report.html").read_text()
        assert "<b>" not in page
        return html.unescape(page.partition("Needs your eyes")[2].partition('<h2 id="points">')[0])

    assert f"{ID}: look at ann and bob<b> together. 100% of what they wrote is the same" in eyes()
    assert "cyd" not in eyes()
    with (home.root / "report.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6

    (home.root / "submitted" / "ann" / ID / "running_mean.py").write_text("# handed in again\n")
    shutil.rmtree(home.root / "submitted" / "cyd")
    said = eyes()
    assert "together" not in said
    assert f"2 of 3 texts are not in {home.root}/submitted any more" in said
