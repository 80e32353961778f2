"""An interview on the page: its questions on a clock, the part in the editor without hints, its report at the end."""

import re
import signal

import pytest
from learner import ID, REPOSITORY, Seen, until
from playwright.sync_api import expect

from grader.records.interviews import Interviews

AXE = REPOSITORY / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def interviewed(house):
    house.lay_drills()
    house.start()
    return house


@pytest.fixture
def seen(context, interviewed):
    return Seen(context.new_page(), interviewed)


def begin(seen):
    page = seen.open("/interview").page
    page.get_by_label("Minutes").select_option("20")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("article.drill")).to_contain_text("Question 1")


def answer_all(page):
    """Answer each of the six, by keyboard alone."""
    for place in range(1, 7):
        expect(page.locator("article.drill header")).to_contain_text(f"Question {place}")
        kind = page.locator("article.drill").get_attribute("data-kind")
        if kind in ("choice", "bug"):
            page.keyboard.press("1")
        else:
            page.keyboard.type("1 2 3" if kind == "order" else "1")
        page.keyboard.press("Enter")


def test_a_whole_interview_by_keyboard(seen):
    page = seen.open("/").page
    page.get_by_role("region", name="Drills").wait_for()
    page.keyboard.press("i")
    page.get_by_label("Minutes").select_option("20")
    expect(page.locator(".rules")).to_contain_text("First up to 6 questions, 10 minutes in all.")
    expect(page.locator("main")).to_contain_text("None yet.")
    page.get_by_role("button", name="Begin").press("Enter")
    answer_all(page)
    begins = page.get_by_role("button", name="Begin the part")
    expect(begins).to_be_focused()
    assert "SECRET" not in page.content()
    page.keyboard.press("Enter")
    expect(seen.code).to_be_visible()
    bar = page.get_by_role("region", name="Interview")
    expect(bar).to_contain_text("write batch_mean")
    expect(bar.get_by_role("timer")).to_contain_text("left")
    expect(page.get_by_role("button", name="▶ Run")).to_have_count(0)
    expect(page.locator("#hint")).to_have_count(0)
    expect(page.get_by_text("the verdict comes at its end")).to_be_visible()
    seen.keep("interview-part")
    seen.code.click()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    seen.type(seen.served.solution)
    page.keyboard.press("Control+Enter")  # saves, and judges nothing
    seen.on_disk("x.sum(0)")
    assert seen.served.judged() == []
    bar.get_by_role("button", name="Hand in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Interview 1 · LLM engineer")
    expect(page.locator(".interview-report")).to_contain_text("passed")
    expect(page.locator(".interview-report")).to_contain_text("SECRET why.")
    seen.keep("interview-report")
    assert len(seen.served.judged()) == 1
    page.get_by_role("link", name="All interviews").click()
    expect(page.get_by_role("row", name=re.compile("1 · LLM engineer, 20 minutes"))).to_contain_text("finished")
    seen.keep("interview-history")
    assert len(seen.served.answers()) == 6
    assert (seen.served.root / ".grader" / "interviews" / "1.html").is_file()


def test_time_over_goes_on_by_itself(context, interviewed):
    """The clock of the page; the server's own is tried without a browser."""
    seen = Seen(context.new_page(), interviewed)
    seen.page.clock.install()
    begin(seen)
    seen.page.locator("article.drill").get_by_role("timer").wait_for()
    seen.page.clock.fast_forward(91_000)
    expect(seen.page.locator("article.drill header")).to_contain_text("Question 2")
    (kept,) = interviewed.answers()
    assert (kept.verdict, kept.typed) == ("wrong", "")


def test_a_reload_does_not_end_it_and_another_tab_shows_it(context, seen):
    begin(seen)
    asked = seen.page.locator("#ask").inner_text()
    seen.page.reload()
    expect(seen.page.locator("#ask")).to_have_text(asked)
    other = Seen(context.new_page(), seen.served).open("/").page
    expect(other.get_by_role("region", name="Interview")).to_contain_text("it goes on")
    other.get_by_role("link", name="Back to it").click()
    other.locator("#ask").wait_for()
    other.keyboard.press("Escape")
    other.keyboard.press("s")
    expect(other.locator("article.drill header")).to_contain_text("Question 2")
    expect(seen.page.locator("article.drill header")).to_contain_text("Question 2")


def test_a_text_that_is_not_on_disk_is_not_handed_in(seen):
    begin(seen)
    answer_all(seen.page)
    seen.page.get_by_role("button", name="Begin the part").click()
    seen.code.wait_for()
    seen.cannot_save()
    seen.at("def batch_mean")
    seen.type("  # mine")
    bar = seen.page.get_by_role("region", name="Interview")
    bar.get_by_role("button", name="Hand in").click()
    expect(bar).to_contain_text("Your text is not on disk yet, and the disk is judged.")
    seen.can_save()
    bar.get_by_role("button", name="Hand in").click()
    expect(seen.page.locator(".interview-report")).to_contain_text("batch_mean of dl_901")
    assert "# mine" in seen.served.judged()[0]


def test_leaving_ends_it(seen):
    begin(seen)
    page = seen.page
    page.get_by_role("button", name="End the interview…").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="End the interview…").click()
    page.get_by_role("button", name="End it").click()
    expect(page.locator(".interview-report")).to_contain_text("left before its end")
    expect(page.get_by_role("region", name="Interview")).to_have_count(0)


def test_a_server_that_is_killed_loses_nothing(seen):
    begin(seen)
    seen.page.locator("#skip").click()
    expect(seen.page.locator("article.drill header")).to_contain_text("Question 2")
    seen.served.stop(signal.SIGKILL)
    seen.served.start()
    page = seen.open("/interview").page
    expect(page.locator(".interview-report")).to_contain_text("broken off: its window or server was closed")
    page.get_by_role("link", name="All interviews").click()
    expect(page.get_by_role("status").filter(has_text="Interview 1 broke off")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("broken off"))).to_contain_text("0 of 1")
    (kept,) = Interviews(seen.served.root).interviews().values()
    assert len(kept.asked) == 1


def test_what_cannot_be_read_stays_on_the_clock(seen):
    begin(seen)
    page = seen.page
    page.keyboard.press("Escape")
    page.locator("button[type=submit]").click()
    expect(page.locator(".read-back.refused")).to_have_text("Write an answer, or skip the question.")
    expect(page.locator("article.drill header")).to_contain_text("Question 1")
    assert seen.served.answers() == []
    page.evaluate("location.hash = '#/'")
    with page.expect_response("**/api/interview") as asked:  # how it stands: nothing that the learner did
        page.get_by_role("link", name="Back to it").click()
    asked.value.finished()
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    expect(page.locator(".read-back.refused")).to_have_text("Write an answer, or skip the question.")


def test_the_page_of_the_part_is_free_again_after_the_end(seen):
    begin(seen)
    answer_all(seen.page)
    seen.page.get_by_role("button", name="Begin the part").click()
    seen.code.wait_for()
    seen.page.get_by_role("button", name="End the interview…").click()
    seen.page.get_by_role("button", name="End it").click()
    seen.page.locator(".interview-report").wait_for()
    seen.open(f"/kata/{ID}")
    expect(seen.page.get_by_role("button", name="▶ Run")).to_be_visible()
    seen.run()
    until(lambda: seen.served.judged(), "a run")


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: npm ci --ignore-scripts in web/")
def test_axe_finds_nothing(seen):
    page, found = seen.open("/interview").page, {}

    def look(name):
        for theme, width in (("light", 1440), ("dark", 1440), ("light", 900)):
            page.emulate_media(color_scheme=theme)
            page.locator(f"html[data-shade={theme}]").wait_for()  # the page hears of it a moment later
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate(AXE.read_text())
            said = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            found.update({f"{name} {theme} {one['id']}": [node["html"] for node in one["nodes"][:4]] for one in said})
            seen.keep(f"interview-{name}-{theme}-{width}")

    page.get_by_role("button", name="Begin").wait_for()
    look("begin")
    begin(seen)
    look("question")
    answer_all(page)
    page.get_by_role("button", name="Begin the part").wait_for()
    look("between")
    page.get_by_role("button", name="Begin the part").click()
    seen.code.wait_for()
    look("coding")
    page.get_by_role("button", name="End the interview…").click()
    page.get_by_role("button", name="End it").click()
    page.locator(".interview-report").wait_for()
    look("report")
    page.get_by_role("link", name="All interviews").click()
    page.get_by_role("table").wait_for()
    look("history")
    assert found == {}
