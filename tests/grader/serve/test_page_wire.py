"""Page and server agree about what passes between them."""

import msgspec
import pytest

from grader.bank.catalog import House
from grader.serve import wire
from grader.serve.typescript import built, wire_text
from grader.verdicts.result import CheckResult


def test_every_struct_that_is_spoken_stands_in_the_text():
    """Also what they hold of other rooms, and each under its own name."""
    text = wire_text()
    for name in ("DiskFile", "Save", "CheckResult", "Finding", "RoleRow", "SourceLine", "EndEvent"):
        assert text.count(f"export interface {name} {{") == 1


def test_what_may_be_left_out_is_optional_and_nothing_else():
    text = wire_text()
    assert "  overrules?: boolean;" in text
    assert "  finding: Finding | null;" in text  # the server always says it


def test_the_documentation_comes_along():
    assert "  /** As in `HelloEvent`. */\n  start: string;" in wire_text()


def test_a_house_without_the_page_has_no_such_file(tmp_path):
    assert built(House(tmp_path)) == []
    (tmp_path / "web" / "src").mkdir(parents=True)
    (file,) = built(House(tmp_path))
    assert not file.current
    file.path.write_text(file.text)
    assert file.current


def test_an_event_names_its_kind():
    event = wire.CheckEvent(n=3, id="x", run=1, done=1, total=2, check=CheckResult("a", "b", "passed"))
    assert msgspec.to_builtins(event)["kind"] == "check"


def test_an_unknown_key_of_a_request_is_refused():
    with pytest.raises(msgspec.ValidationError, match="txt"):
        msgspec.json.decode(b'{"text": "", "txt": ""}', type=wire.Save)
