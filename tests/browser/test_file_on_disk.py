"""The file on disk is the truth, and nothing that a learner typed is ever lost."""

import re
import signal

import pytest
from learner import ID, Seen, until
from playwright.sync_api import expect

from grader.base.files import digest


def test_07_a_clean_text_follows_the_disk_and_keeps_cursor_and_undo(seen):
    seen.served.write()
    seen.open().at("return self.mean")
    seen.type("  # mine")
    seen.on_disk("# mine")
    seen.page.keyboard.press("ArrowLeft")
    seen.served.write(("x: (n, d), n >= 1.", "x: (n, d)\n    by another editor."), text=seen.served.text)
    expect(seen.line("by another editor")).to_be_visible()
    expect(seen.page.get_by_text("Changed on disk.")).to_be_visible()
    expect(seen.page.locator(".cm-activeLine")).to_contain_text("return self.mean")
    seen.type("N")
    seen.on_disk("# minNe")
    for _ in range(2):  # what was typed now, then the change from outside
        seen.page.keyboard.press("Control+z")
    expect(seen.line("by another editor")).to_have_count(0)
    assert "# mine" in seen.shown()
    seen.page.keyboard.press("Control+z")
    expect(seen.line("# mine")).to_have_count(0)
    until(lambda: seen.served.text == seen.served.solution, "the first text on disk")


@pytest.fixture
def torn(seen):
    """Typed here and not saved, while the disk got another text. Gives the page, and both texts."""
    began = seen.served.write()
    seen.open()
    expect(seen.line("return self.mean")).to_be_visible()
    seen.cannot_save()
    seen.at("return self.mean")
    seen.type("  # mine")
    expect(seen.page.get_by_text("kept in this browser", exact=True)).to_be_visible()
    mine = began.replace("return self.mean", "return self.mean  # mine")
    theirs = seen.served.write(("the mean of nothing", "theirs"))
    expect(seen.page.get_by_text("The file changed on disk")).to_be_visible()
    seen.can_save()
    seen.keep("asks")
    return seen, mine, theirs


def test_08_load_from_disk_keeps_mine_in_the_history(torn):
    seen, mine, theirs = torn
    assert seen.served.text == theirs
    seen.page.get_by_role("button", name="Load from disk").click()
    expect(seen.page.get_by_text("Your text is kept in the history.")).to_be_visible()
    assert seen.shown() == theirs
    assert seen.served.text == theirs
    assert mine in seen.served.kept()


def test_08_keep_mine_keeps_theirs_in_the_history(torn):
    seen, mine, theirs = torn
    seen.page.get_by_role("button", name="Keep mine").click()
    until(lambda: seen.served.text == mine, "mine on disk")
    assert seen.shown() == mine
    assert theirs in seen.served.kept()


def test_08_merge_takes_the_changes_of_both(torn):
    seen, mine, theirs = torn
    seen.page.get_by_role("button", name="Merge").click()
    both = theirs.replace("return self.mean", "return self.mean  # mine")
    until(lambda: seen.served.text == both, "both on disk")
    assert seen.shown() == both
    kept = seen.served.kept()
    assert mine in kept
    assert theirs in kept


def test_08_where_both_changed_one_line_the_learner_chooses(seen):
    seen.served.write()
    seen.open()
    seen.cannot_save()
    seen.at("return self.mean")
    seen.type("  # mine")
    theirs = seen.served.write(("return self.mean", "return self.mean  # theirs"))
    expect(seen.page.get_by_text("The file changed on disk")).to_be_visible()
    seen.can_save()
    seen.page.get_by_role("button", name="Merge").click()
    expect(seen.page.get_by_text("One place was changed by both")).to_be_visible()
    seen.keep("merging")
    seen.page.get_by_role("button", name="Take the disk's").dispatch_event("mousedown")
    seen.page.get_by_role("button", name="Done").click()
    expect(seen.page.get_by_text("saved ✓")).to_be_visible()
    assert seen.shown() == seen.served.text == theirs
    assert any("# mine" in text for text in seen.served.kept())


def test_09_a_save_by_rename_is_followed(seen):
    text = seen.served.write()
    seen.open()
    file = seen.served.file
    file.rename(file.with_name("running_mean.py~"))  # as vim does it with backupcopy=no
    file.write_text(text.replace("the mean of nothing", "by vim"), encoding="utf-8")
    expect(seen.line("by vim")).to_be_visible()
    expect(seen.page.get_by_text("saved ✓")).to_be_visible()
    expect(seen.page.get_by_text("is gone from the disk")).to_have_count(0)


def test_09_a_file_that_goes_can_be_written_again(seen):
    text = seen.served.write()
    seen.open()
    seen.served.file.unlink()
    expect(seen.page.get_by_text("is gone from the disk")).to_be_visible()
    seen.page.get_by_role("button", name="Write what is here").click()
    until(lambda: seen.served.data == text.encode(), "the file again")


def test_10_two_tabs_are_two_editors(context, served):
    served.write()
    first, second = (Seen(context.new_page(), served).open() for _ in range(2))
    first.cannot_save()
    first.at("return self.mean")
    first.type("  # first")
    expect(first.page.get_by_text("kept in this browser", exact=True)).to_be_visible()
    second.at("self.count = 0")
    second.type("  # second")
    second.on_disk("# second")
    expect(first.page.get_by_text("The file changed on disk")).to_be_visible()
    first.can_save()
    first.page.get_by_role("button", name="Merge").click()
    first.on_disk("# first")
    assert "# second" in served.text
    expect(second.line("# first")).to_be_visible()


def test_13_what_is_typed_while_the_server_is_away_arrives(context, served):
    served.write()
    first = Seen(context.new_page(), served).open()
    served.stop(signal.SIGKILL)
    first.at("return self.mean")
    first.type("  # offline")
    expect(first.page.get_by_text("The server does not answer.")).to_be_visible()
    expect(first.page.get_by_text("kept in this browser", exact=True)).to_be_visible()
    served.start()
    until(lambda: first.page.get_by_text("The server was started anew").count(), "the new start is noticed")
    Seen(context.new_page(), served).open("/")
    first.on_disk("# offline")
    expect(first.page.get_by_text("saved ✓")).to_be_visible()


def test_13_a_draft_survives_the_page(context, served):
    served.write()
    first = Seen(context.new_page(), served).open()
    served.stop(signal.SIGKILL)
    first.at("return self.mean")
    first.type("  # draft")
    expect(first.page.get_by_text("kept in this browser", exact=True)).to_be_visible()
    first.page.close()
    served.start()
    again = Seen(context.new_page(), served).open()
    expect(again.page.get_by_text("What you had typed and was not saved is back.")).to_be_visible()
    again.on_disk("# draft")


def test_a_draft_of_an_older_text_asks(context, served):
    served.write()
    first = Seen(context.new_page(), served).open()
    served.stop(signal.SIGKILL)
    first.at("return self.mean")
    first.type("  # draft")
    expect(first.page.get_by_text("kept in this browser", exact=True)).to_be_visible()
    first.page.close()
    theirs = served.write(("the mean of nothing", "theirs"))
    served.start()
    again = Seen(context.new_page(), served).open()
    expect(again.page.get_by_text("The file changed on disk")).to_be_visible()
    assert served.text == theirs
    again.page.get_by_role("button", name="Merge").click()
    again.on_disk("# draft")
    assert "theirs" in served.text


def test_a_draft_of_a_page_that_crashed_a_moment_ago_comes_too(seen):
    """Whether a page still looks after its draft shows only after a while: here an hour, in which it is renewed."""
    seen.page.clock.install()
    began = seen.served.write()
    base = {"text": began, "hash": digest(began)}
    draft = {"text": began.replace("return self.mean", "return self.mean  # crashed"), "base": base}
    seen.open("/")
    keep = "([key, draft]) => localStorage.setItem(key, JSON.stringify({ ...draft, at: Date.now() + 3_600_000 }))"
    seen.page.evaluate(keep, [f"dl-kata draft {ID} another", draft])
    seen.open()
    assert "# crashed" not in seen.shown()
    seen.page.clock.fast_forward("01:00:10")
    seen.on_disk("# crashed")
    expect(seen.page.get_by_text("What you had typed and was not saved is back.")).to_be_visible()


def test_leaving_the_page_saves(context, served):
    served.write()
    seen = Seen(context.new_page(), served).open()
    seen.at("return self.mean")
    seen.type("  # left")
    seen.page.goto("about:blank")
    seen.on_disk("# left")


def test_line_ends_stay_what_they_were(context, served):
    served.file.write_bytes(served.solution.replace("\n", "\r\n").encode())
    seen = Seen(context.new_page(), served).open()
    seen.at("return self.mean")
    seen.type("  # crlf")
    until(lambda: b"# crlf" in served.data, "the text on disk")
    edited = served.solution.replace("return self.mean", "return self.mean  # crlf")
    assert served.data == edited.replace("\n", "\r\n").encode()


def test_a_file_that_is_no_text_is_named(context, served):
    served.file.write_bytes(b"\xff\xfe not text")
    seen = Seen(context.new_page(), served)
    seen.page.goto(f"{served.url}&to=/kata/{ID}")
    expect(seen.page.get_by_text(re.compile("not UTF-8"))).to_be_visible()
    seen.page.get_by_role("button", name="Write the stub").click()
    until(lambda: b"NotImplementedError" in served.data, "the stub")
