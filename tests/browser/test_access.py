"""By keyboard alone, by ear, in two themes and two widths, without motion, with forced colours, on paper."""

import re

import pytest
from learner import ID, REPOSITORY, Seen, until
from playwright.sync_api import expect

AXE = REPOSITORY / "web" / "node_modules" / "axe-core" / "axe.min.js"


def test_20_by_keyboard_from_the_map_to_an_earned_part(seen):
    page = seen.open("/").page
    begin = page.get_by_role("link", name="Begin")
    begin.wait_for()
    press_until(page, "Tab", lambda: begin.evaluate("(e) => e === document.activeElement"))
    page.keyboard.press("Enter")
    expect(seen.code).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    seen.type(seen.served.solution)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".won")).to_have_count(2)
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(seen.code).not_to_be_focused()
    status = page.locator("[role=status][aria-live=polite]")
    expect(status).to_contain_text("100 of 100 points.")
    press_until(page, "Tab", lambda: page.evaluate("document.activeElement.textContent").startswith("Compare with"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare: Running mean")


def press_until(page, key, holds):
    for _ in range(80):
        if holds():
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not lead there")


def test_keys_and_letters(seen):
    page = seen.open("/").page
    page.get_by_role("link", name="Begin").wait_for()
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("running")
    page.keyboard.press("Enter")
    seen.code.wait_for()
    page.locator(".pane-verdicts").focus()
    page.keyboard.press("h")
    expect(page.get_by_text("What is a mean?", exact=True)).to_be_visible()
    page.keyboard.press("?")
    page.get_by_label("Vim's keys in the editor").check()
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".cm-vimMode, .cm-fat-cursor, .cm-vim-panel").first).to_be_attached()
    page.locator(".pane-verdicts").focus()
    page.keyboard.press("g")
    expect(page.get_by_text("Begin here")).to_be_visible()


@pytest.fixture
def worked(context, house):
    """A house in which one part is earned, one is wrong, two texts are in the history, and drills are due."""
    house.lay_drills()
    house.start()
    house.write(("self.count += len(x)", "self.count += 1"))
    seen = Seen(context.new_page(), house).open()
    seen.run()
    house.write(("* len(x) / self.count", "/ self.count"))
    until(lambda: len(house.judged()) > 1, "the second run")
    seen.page.close()
    return house


SCREENS = {"map": "/", "kata": f"/kata/{ID}", "compare": f"/compare/{ID}", "report": "/report", "drill": "/drill"}


def opened(page, house, name):
    """A screen, once all of it is there."""
    seen = Seen(page, house).open(SCREENS[name])
    page.locator("main h1").wait_for(state="attached")
    if name == "compare":
        page.locator(".texts .cm-content").first.wait_for()
    if name == "drill":
        page.locator("article.drill").wait_for()
    return seen


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: npm ci --ignore-scripts in web/")
def test_21_axe_finds_nothing(context, worked):
    found = {}
    for theme in ("light", "dark"):
        for width in (1440, 900):
            page = context.new_page()
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme)
            for name in SCREENS:
                seen = opened(page, worked, name)
                page.evaluate(AXE.read_text())
                said = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
                found |= {
                    f"{name} {theme} {width} {one['id']}": [node["html"][:200] for node in one["nodes"][:4]]
                    for one in said
                }
                seen.keep(f"{name}-{theme}-{width}")
            page.close()
    assert found == {}


def test_23_without_motion_with_forced_colours_and_large(context, worked):
    page = context.new_page()
    page.emulate_media(reduced_motion="reduce", forced_colors="active")
    seen = Seen(page, worked).open()
    assert page.evaluate("document.getAnimations().length") == 0
    worst = page.locator(".cell.worst")
    expect(worst).to_be_visible()
    seen.keep("forced")
    page.set_viewport_size({"width": 360, "height": 225})  # 1440 by 900, at 400 %
    for screen in SCREENS:
        opened(page, worked, screen)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{screen} scrolls sideways by {wide}"
    seen.open()
    seen.keep("large")
    seen.code.scroll_into_view_if_needed()
    expect(page.get_by_role("button", name="Run", exact=False).first).to_be_attached()


def test_24_on_paper_code_and_verdicts_are_whole(context, worked):
    seen = Seen(context.new_page(), worked).open()
    seen.page.emulate_media(media="print")
    lines = seen.page.locator(".printout li")
    expect(lines).to_have_count(len(worked.text.split("\n")))
    expect(lines.nth(0)).to_be_visible()
    expect(seen.part("RunningMean").locator(".property")).to_be_visible()
    expect(seen.page.locator(".statement")).to_be_visible()
    expect(seen.page.locator(".toolbar button").first).to_be_hidden()
    cut = """[...document.querySelectorAll(".pane, main")].filter(
      (one) => one.scrollHeight > one.clientHeight + 1 && getComputedStyle(one).overflowY !== "visible").length"""
    assert seen.page.evaluate(cut) == 0
    seen.keep("paper")


def test_a_part_that_runs_alone_loses_nothing(seen):
    seen.served.write()
    seen.open().run()
    expect(seen.page.locator(".part.passed")).to_have_count(2)
    expect(seen.page.locator(".won")).to_have_count(2)
    seen.page.locator(".play[data-part=batch_mean]").click()
    until(lambda: len(seen.served.judged()) > 1, "the second run")
    expect(seen.page.locator(".won")).to_have_count(0)  # the page has heard its end: nothing new is earned
    expect(seen.page.get_by_role("button", name="▶ Run")).to_be_visible()
    expect(seen.part("RunningMean").locator(".standing")).to_have_text(re.compile("passed"))
