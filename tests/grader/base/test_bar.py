import io
import sys

from grader.base.bar import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def a_terminal(monkeypatch, kind="xterm"):
    """In a test and not in a fixture: between the two pytest puts its own in the place of stderr."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_it_says_how_far_and_commands_nothing(monkeypatch):
    terminal = a_terminal(monkeypatch)
    bar = Bar("submissions")
    bar.show(1, 3, "[red]ann[/red]")
    bar.show(2, 3, "bob")
    said = terminal.getvalue()
    assert "[red]ann[/red]" in said
    assert "1 of 3 submissions" in said
    assert "2 of 3 submissions" in said
    bar.end()


def test_the_line_is_gone_when_all_is_done(monkeypatch):
    terminal = a_terminal(monkeypatch)
    bar = Bar("checks")
    bar.show(2, 2, "dl_011")
    assert terminal.getvalue().endswith("\x1b[2K")  # erased
    before = terminal.getvalue()
    bar.end()
    assert terminal.getvalue() == before


def test_a_terminal_that_obeys_no_commands_gets_none(monkeypatch):
    terminal = a_terminal(monkeypatch, "dumb")
    bar = Bar("checks")
    bar.show(1, 2)
    bar.show(2, 2)
    assert "\x1b" not in terminal.getvalue()


def test_nothing_is_said_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = Bar("checks")
    bar.show(1, 2)
    bar.end()
    assert sys.stderr.getvalue() == ""
