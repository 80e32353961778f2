"""Each screen hears and is typed in as it appears. A clock that stands still is the busiest machine there is."""

import pytest
from learner import ID, Seen
from playwright.sync_api import expect


@pytest.fixture
def seen(context, house):
    """A page in which nothing happens a while later: no timer goes off, and nothing waits for a paint."""
    house.lay_drills()
    house.write()
    house.start()
    page = context.new_page()
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    return Seen(page, house)


def test_the_map_hears_its_keys(seen):
    page = seen.open("/").page
    page.get_by_role("link", name="Begin").wait_for()
    page.keyboard.press("Control+k")
    page.keyboard.type("mean of")  # at once: g, d, i and ? outside of a field would be other keys
    expect(page.get_by_role("combobox")).to_have_value("mean of")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys and options")).to_be_visible()


def test_a_kata_is_written_in_and_run_and_printed(seen):
    page = seen.open(f"/kata/{ID}/batch_mean").page
    expect(seen.code).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".won")).to_have_count(2)
    page.emulate_media(media="print")
    expect(page.locator(".printout")).to_be_visible()


def test_a_kata_is_compared(seen):
    seen.open(f"/compare/{ID}")
    expect(seen.page.get_by_text("No attempt yet.")).to_be_visible()


@pytest.mark.parametrize("screen", ["drill", "interview", "report"])
def test_the_other_screens_open(seen, screen):
    page = seen.open(f"/{screen}").page
    if screen == "interview":
        page.get_by_role("button", name="Begin").click()
    if screen == "report":
        expect(page.get_by_role("heading", name="Topics")).to_be_visible()
    else:
        page.locator("article.drill").wait_for()
        expect(page.locator("article.drill :focus")).to_have_count(1)
