"""Each fault that an author can leave in the pictures of an exercise is named."""

import json

import pytest

from conftest import ID

DRIVER = """
import torch


def means(module):
    return torch.stack([module.batch_mean(torch.full((3, 2), float(i))) for i in range(4)])
"""
SCRIPT = """
import json
from pathlib import Path

from grader.audit.pictures import pictures
from grader.bank.catalog import House

print(json.dumps(pictures(House(Path.cwd()).find("901"))))
"""


LARGE = "the picture means: 5,000 by 2 values, drawn as 128 by 2: each cell is an average. Give it less to draw."
NOT_DRAWN = (
    "the picture means: Where there is no number, it is NaN, infinite or too large to draw. Give it less to draw."
)
FAULTS = {
    "healthy": ("def means", "def means", []),
    "other name": (
        "def means",
        "def meens",
        [
            "pictures.py defines no 'means'. Did you mean 'meens'?",
            "pictures.py: no [[picture]] has the driver 'meens'.",
        ],
    ),
    "import": (
        "import torch",
        "import scipy\nimport torch",
        ["pictures.py imports scipy: take torch, numpy, the standard library, and the module that is given."],
    ),
    "large": ("range(4)", "range(5000)", [LARGE]),
    "nan": ("float(i)", "float('nan')", [NOT_DRAWN]),
    "missing": (
        "module.batch_mean",
        "module.batch_men",
        [
            "the picture means cannot be drawn from the solution: running_mean.py does not define 'batch_men'. "
            "Did you mean 'batch_mean'? Keep the names of the stub."
        ],
    ),
}


@pytest.fixture
def declared(home):
    home.declare_picture()
    return home


@pytest.mark.parametrize("fault", FAULTS)
def test_the_section(declared, fault):
    find, put, said = FAULTS[fault]
    (declared.root / f"exercises/{ID}/pictures.py").write_text(DRIVER.replace(find, put))
    done = declared.script(SCRIPT)
    assert done.code == 0, done.said
    assert json.loads(done.out) == [said, "1 picture, each drawn from the solution"]


def test_a_slow_picture_is_made_again_and_then_named(declared):
    (declared.root / f"exercises/{ID}/pictures.py").write_text(DRIVER)
    limit = "import grader.audit.pictures\n\ngrader.audit.pictures._SECONDS = -1.0\n"
    done = declared.script(SCRIPT.replace("import json\n", f"import json\n{limit}", 1))
    assert "let it take -1 s at most" in json.loads(done.out)[0][0]


def test_the_audit_asks_for_the_files_and_for_a_place_in_the_statement(declared):
    done = declared.grader("dev", "audit", "901", "--mutants", "none")
    assert f"exercises/{ID}/pictures.py is missing." in done.out
    assert f"exercises/{ID}/figure.svg is missing." in done.out
    assert "README.md has no place for its figure: <!-- figure --> and <!-- /figure -->." in done.out
