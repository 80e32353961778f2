import pytest

from grader.learner.screen import editor_command
from grader.learner.terminal import names_of


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("q", ["q"]),
        ("\r", ["enter"]),
        ("hd", ["h", "d"]),
        ("\x1b", ["escape"]),
        ("\x1b[A\x1b[Bx", ["up", "down", "x"]),
        ("\x1b[6~\x1b[5~", [" ", "b"]),
        ("\x1b[1;5Cq", ["q"]),
        ("\x1b[99", []),
        ("", []),
    ],
)
def test_keys_by_name(typed, names):
    assert names_of(typed) == names


@pytest.mark.parametrize(
    ("editor", "command"),
    [
        ("vim", ["vim", "+7", "a.py"]),
        ("/usr/bin/nano -l", ["/usr/bin/nano", "-l", "+7", "a.py"]),
        ("code -w", ["code", "-w", "-g", "a.py:7"]),
        ("my-editor", ["my-editor", "a.py"]),
    ],
)
def test_an_editor_opens_at_the_line_where_it_can(editor, command):
    assert editor_command(editor, "a.py", 7) == command
