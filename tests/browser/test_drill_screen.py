"""Drills on the page: by keyboard alone, by ear, and no answer in the browser before the learner has given one."""

import re
import signal
from datetime import UTC, datetime, timedelta

import pytest
from learner import REPOSITORY, Seen
from playwright.sync_api import expect

from grader.bank.catalog import House
from grader.drills.heads import heads
from grader.drills.schedule import Answer
from grader.records.drilled import Drilled
from grader.records.progress import Progress

AXE = REPOSITORY / "web" / "node_modules" / "axe-core" / "axe.min.js"


def today():
    return datetime.now(UTC).date()


@pytest.fixture
def drilling(house):
    house.lay_drills()
    house.start()
    return house


@pytest.fixture
def seen(context, drilling):
    return Seen(context.new_page(), drilling)


def ask(seen, kind):
    """Open the drills, and skip until this kind is asked."""
    seen.open("/drill")
    card = seen.page.locator("article.drill")
    for _ in range(6):
        card.wait_for()
        asked = card.get_attribute("data-kind")
        if asked == kind:
            return
        name = card.get_attribute("data-turn")
        seen.page.locator("#skip").click()
        seen.page.locator(f"article.drill:not([data-turn='{name}'])").wait_for()
    raise AssertionError(f"no {kind} is asked")


def rows(seen):
    """The number that the first question was drawn with."""
    return int(re.search(r"Bytes of (\d+) rows", seen.page.locator("#ask").inner_text())[1])


def answered(house, right, *names, day=None):
    for name in names:
        at = f"{day or today()}T00:00:01.000+00:00"
        Drilled(house.root).answer(Answer(name, 1, 1, at, "5", "right" if right else "wrong", "", 0, 9.0))


# ---- a sitting


def test_by_keyboard_alone_from_the_map_to_the_next_question(seen):
    page = seen.open("/").page
    expect(page.get_by_role("region", name="Drills")).to_contain_text("6 new")
    page.keyboard.press("d")
    field = page.get_by_role("textbox", name="Your answer")
    expect(field).to_be_focused()
    expect(page.locator("article.drill")).to_contain_text("1 of 6 ·")
    n = rows(seen)
    page.keyboard.type(f"{n} KB")
    expect(page.locator("#read-back")).to_have_text(f"= {1000 * n:,} B")
    page.keyboard.press("Enter")
    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict).to_contain_text("✗ SECRET: KB for KiB")
    expect(verdict).to_contain_text(f"{1024 * n:,} B = 1024 · {n}")
    expect(verdict).to_contain_text("Nobody 2026, 1 · again tomorrow")
    expect(page.locator("[role=status][aria-live=polite]")).to_have_text(
        f"Wrong: SECRET: KB for KiB. The answer: {1024 * n:,} B = 1024 · {n}. SECRET why. again tomorrow"
    )
    (kept,) = seen.served.answers()
    assert (kept.question, kept.typed, kept.trap) == ("dl_901.bytes_of_rows", f"{n} KB", "SECRET: KB for KiB")
    expect(page.get_by_role("button", name="Next")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("article.drill")).to_contain_text("2 of 6 ·")
    expect(page.get_by_role("textbox", name="Your answer")).to_be_focused()
    expect(page.get_by_role("link", name="Drill 5 to answer")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    expect(page.get_by_role("region", name="Drills")).to_contain_text("5 new")


def test_a_right_answer_in_other_words(seen):
    ask(seen, "number")
    field = seen.page.get_by_role("textbox")
    field.fill(f"{rows(seen)} KiB")
    field.press("Enter")
    expect(seen.page.locator(".drill-verdict .found")).to_have_text("✓ right")
    expect(seen.page.locator(".drill-verdict")).to_contain_text("again in 2 days")
    expect(seen.page.locator(".tally")).to_have_text("1 of 1 right in this sitting.")


def test_what_cannot_be_read_is_said_while_typing_and_asked_again(seen):
    ask(seen, "number")
    field = seen.page.get_by_role("textbox")
    field.fill("1,5")
    expect(seen.page.locator("#read-back")).to_contain_text("A comma only stands between thousands")
    field.press("Enter")
    expect(seen.page.locator("#read-back.refused")).to_contain_text("A comma only stands between thousands")
    expect(seen.page.locator("[role=status][aria-live=polite]")).to_contain_text("A comma only stands")
    expect(field).to_be_focused()
    assert seen.served.answers() == []
    field.fill("15")
    expect(seen.page.locator("#read-back")).to_have_text("= 15 B")


def test_hint_and_skip_by_their_letters(seen):
    page = seen.open("/drill").page
    first = rows(seen)
    page.keyboard.type("hs")  # in the field they are text
    expect(page.get_by_role("textbox")).to_have_value("hs")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    hints = page.get_by_role("list", name="Hints").get_by_role("listitem")
    expect(hints).to_have_text(["A row is 1 KiB."])
    expect(page.locator("[role=status][aria-live=polite]")).to_have_text("Hint 1: A row is 1 KiB.")
    page.keyboard.press("h")
    expect(hints).to_have_text(["A row is 1 KiB.", "1024 · n"])
    expect(page.locator("#hint")).to_have_count(0)
    page.keyboard.press("Enter")  # back to the field
    expect(page.get_by_role("textbox")).to_be_focused()
    page.get_by_role("textbox").fill(f"{first}")
    page.keyboard.press("Enter")
    page.locator(".drill-verdict").wait_for()
    assert seen.served.answers()[0].hints == 2
    page.keyboard.press("Enter")
    expect(page.locator("article.drill")).to_contain_text("2 of 6 ·")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    expect(page.locator("article.drill")).to_contain_text("3 of 6 ·")
    assert len(seen.served.answers()) == 1


def test_the_letters_stand_in_the_help(seen):
    page = seen.open("/drill").page
    page.get_by_role("textbox").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    help = page.get_by_role("dialog", name="Keys and options")
    expect(help).to_contain_text("skip a drill")
    help.get_by_label("Single letters as keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    expect(page.locator("#skip kbd")).to_have_count(0)
    page.get_by_role("textbox").fill("1")  # were it skipped, this question would get no verdict
    page.keyboard.press("Enter")
    page.locator(".drill-verdict").wait_for()
    expect(page.locator("article.drill")).to_contain_text("1 of 6 ·")


# ---- each kind


def test_a_choice_by_its_number(seen):
    ask(seen, "choice")
    page = seen.page
    expect(page.get_by_role("radio")).to_have_count(3)
    place = [one.strip() for one in page.locator(".pick-one .text").all_text_contents()].index("this") + 1
    page.keyboard.press("9")  # there is none
    page.keyboard.press(str(place))
    expect(page.get_by_role("radio").nth(place - 1)).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.locator(".drill-verdict .found")).to_have_text("✓ right")
    expect(page.locator(".drill-verdict .answer")).to_have_text(f"{place}: this")


def test_a_choice_by_arrows_and_nothing_picked_is_said(seen):
    ask(seen, "choice")
    page = seen.page
    page.keyboard.press("Enter")
    expect(page.locator("#note")).to_have_text("Write an answer, or skip the question.")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio").nth(1)).to_be_checked()
    page.keyboard.press("Enter")
    page.locator(".drill-verdict").wait_for()
    assert seen.served.answers()[-1].typed == "2"


def test_the_wrong_line_is_picked(seen):
    ask(seen, "bug")
    page = seen.page
    expect(page.get_by_role("radio")).to_have_count(4)
    page.keyboard.press("2")
    page.keyboard.press("3")  # there is no line 23
    expect(page.get_by_role("radio", name="mean = total * len(rows)")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.locator(".drill-verdict .found")).to_have_text("✓ right")
    expect(page.locator(".drill-verdict .answer")).to_have_text("line 3, mean = total / len(rows)")


def test_an_order_by_presses(seen):
    ask(seen, "order")
    page = seen.page
    for name in ("one", "three", "two"):
        page.get_by_role("button", name=name).click()
    expect(page.locator("#read-back")).to_have_text("one; three; two")
    page.get_by_role("button", name="three").click()  # takes it off
    expect(page.get_by_role("button", name="two")).to_contain_text("place 2")
    expect(page.locator("#read-back")).to_contain_text("Write each number from 1 to 3 once")
    page.get_by_role("button", name="three").click()
    page.get_by_role("textbox").press("Enter")
    expect(page.locator(".drill-verdict .found")).to_have_text("✓ right")
    expect(page.locator(".drill-verdict .answer")).to_contain_text(": one; two; three")


def test_a_gap_is_shown_filled(seen):
    ask(seen, "blank")
    page = seen.page
    name = re.search(r"last\(x, (\w+)\)", page.locator("#code").inner_text())[1]
    page.get_by_role("textbox").fill(f"{name}-1")
    expect(page.locator("#read-back")).to_have_text(f"return x[{name}-1]")
    page.keyboard.press("Enter")
    expect(page.locator(".drill-verdict .found")).to_have_text("✓ right")


def test_code_and_outputs_are_text(seen):
    ask(seen, "predict")
    page = seen.page
    expect(page.locator("#code")).to_contain_text("'<img>'")
    page.get_by_role("textbox").fill("<img src=x onerror=alert(1)>")
    page.keyboard.press("Enter")
    expect(page.locator(".drill-verdict .answer")).to_contain_text("<img>")
    assert page.locator("main img").count() == 0


# ---- nothing before its time


def test_no_answer_trap_or_why_is_in_the_browser_before_the_answer(seen):
    said = []

    def hear(response):
        if "/api/drill" in response.url or "/api/map" in response.url:
            said.append(response.text())

    seen.page.on("response", hear)
    page = seen.open("/drill").page
    for place in range(1, 7):
        expect(page.locator("article.drill")).to_contain_text(f"{place} of 6 ·")
        if page.locator("[data-kind=number]").count():
            page.locator("#answer").fill("1")
            expect(page.locator("#read-back")).to_have_text("= 1 B")
        page.locator("#hint").click()
        expect(page.get_by_role("list", name="Hints").get_by_role("listitem")).to_have_count(1)
        assert "SECRET" not in page.content()
        page.locator("#skip").click()
    expect(page.get_by_role("group", name="No question")).to_contain_text("Nothing else is due: you skipped 6.")
    assert len(said) > 12
    assert not [one for one in said if "SECRET" in one]
    page.get_by_role("button", name="Ask what I skipped").click()
    page.locator("#answer").fill("1")
    page.locator("#answer").press("Enter")
    expect(page.locator(".drill-verdict")).to_contain_text("SECRET why.")


# ---- nothing is lost


def test_a_reload_keeps_the_question_what_was_typed_and_the_hints(seen):
    page = seen.open("/drill").page
    n = rows(seen)
    page.keyboard.type("12*3")
    page.locator("#hint").click()
    expect(page.get_by_role("list", name="Hints").get_by_role("listitem")).to_have_count(1)
    page.reload()
    expect(page.get_by_role("textbox")).to_have_value("12*3")
    expect(page.locator("#read-back")).to_have_text("= 36 B")
    expect(page.get_by_role("list", name="Hints").get_by_role("listitem")).to_have_count(1)
    assert rows(seen) == n
    page.get_by_role("textbox").press("Enter")
    page.locator(".drill-verdict").wait_for()
    page.reload()
    expect(page.locator(".drill-verdict .found")).to_contain_text("✗")
    expect(page.locator(".tally")).to_have_text("0 of 1 right in this sitting.")
    assert len(seen.served.answers()) == 1


def test_a_server_that_was_started_anew_asks_another(seen):
    page = seen.open("/drill").page
    page.get_by_role("textbox").fill("7")
    seen.served.stop(signal.SIGKILL)
    page.get_by_role("textbox").press("Enter")
    expect(page.locator("#read-back")).to_have_text("The server does not answer.")
    expect(page.get_by_role("textbox")).to_have_value("7")
    seen.served.start()
    page.goto(f"{seen.served.url}&to=/drill")
    page.wait_for_url(lambda url: "token" not in url)  # the page has taken it
    page.get_by_role("textbox").press("Enter")
    expect(page.locator("#read-back")).to_contain_text("The server was started anew")
    assert seen.served.answers() == []


# ---- which are asked, and none


def test_a_topic_and_a_role_are_chosen(seen):
    page = seen.open("/drill").page
    page.get_by_label("Topic").select_option("mean.running")
    expect(page.locator("article.drill")).to_contain_text("1 of 3 ·")
    expect(page.locator("article.drill header")).to_contain_text("Mean of a stream")
    page.get_by_label("Topic").select_option("")
    page.get_by_label("Which").select_option("due")
    expect(page.get_by_role("group", name="No question")).to_contain_text("Nothing is due.")
    page.get_by_role("button", name="Ask what is not due yet").click()
    expect(page.locator("article.drill")).to_contain_text("of 6 ·")
    with page.expect_request(lambda request: '"role":"llm"' in (request.post_data or "")):
        page.get_by_label("Asked of").select_option("llm")
    seen.open("/")
    page.get_by_role("link", name="drills on Mean of a stream").click()
    expect(page.get_by_label("Topic")).to_have_value("mean.running")


def test_enough_for_today_is_said(seen):
    for _ in range(10):
        answered(seen.served, True, "dl_901.gap", "dl_901.which", "dl_901.order")
    page = seen.open("/drill").page
    expect(page.get_by_role("group", name="No question")).to_contain_text(
        "Enough for today: 30 answers. Left for tomorrow: 3."
    )
    expect(page.locator("[role=status][aria-live=polite]")).to_contain_text("Enough for today")
    seen.keep("drill-enough")


def test_what_fades_is_marked_on_the_map(seen):
    for back in (300, 299):
        answered(seen.served, True, *heads(House(seen.served.root)), day=today() - timedelta(days=back))
    page = seen.open("/").page
    expect(page.get_by_role("link", name="drills on Mean of a batch")).to_contain_text("fading")
    seen.keep("map-fading")


def test_a_house_without_drills_says_so(context, served):
    page = Seen(context.new_page(), served).open("/").page
    page.get_by_role("link", name="Begin").wait_for()
    assert page.get_by_role("link", name="Drill").count() == 0
    page.goto(f"{served.url}&to=/drill")
    expect(page.locator("main")).to_contain_text("There are no drills here yet.")


def test_a_damaged_file_of_progress_is_said(seen):
    path = Progress(seen.served.root).path

    def damage():
        """At once, as nobody reads half of it."""
        beside = path.with_name("damaged")
        beside.write_bytes(b"this is no progress file" * 100)
        beside.replace(path)

    path.parent.mkdir(exist_ok=True)
    damage()
    page = seen.open("/drill").page
    expect(page.locator("main")).to_contain_text("is damaged")
    path.unlink()
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("textbox").wait_for()
    damage()
    page.get_by_role("textbox").fill("7")
    page.get_by_role("textbox").press("Enter")
    expect(page.locator(".drill-verdict .trouble")).to_contain_text("is damaged")
    expect(page.locator(".drill-verdict")).to_contain_text("SECRET why.")


def test_a_student_edition_has_its_drills(context, house):
    house.lay_drills()
    house.to_student_edition()
    house.start()
    seen = Seen(context.new_page(), house).open("/")
    expect(seen.page.get_by_role("region", name="Drills")).to_contain_text("6 new")
    ask(seen, "choice")
    seen.page.keyboard.press("1")
    seen.page.keyboard.press("Enter")
    seen.page.locator(".drill-verdict").wait_for()
    assert len(house.answers()) == 1


# ---- looks


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not here: npm ci --ignore-scripts in web/")
def test_axe_finds_nothing_in_any_kind_nor_in_a_verdict(seen):
    page, found, kinds = seen.open("/drill").page, {}, set()

    def look(name):
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.locator(f"html[data-shade={theme}]").wait_for()  # the page hears of it a moment later
            page.evaluate(AXE.read_text())
            said = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            found.update({f"{name} {theme} {one['id']}": [node["html"] for node in one["nodes"][:4]] for one in said})
            seen.keep(f"drill-{name}-{theme}")

    for place in range(1, 7):
        expect(page.locator("article.drill")).to_contain_text(f"{place} of 6 ·")
        kinds.add(page.locator("article.drill").get_attribute("data-kind"))
        look(page.locator("article.drill").get_attribute("data-kind"))
        page.locator("#skip").click()
    look("none")
    page.get_by_role("button", name="Ask what I skipped").click()
    page.locator("#answer").fill("1")
    page.locator("#answer").press("Enter")
    page.locator(".drill-verdict.failed").wait_for()
    look("wrong")
    assert found == {}
    assert kinds == {"number", "choice", "order", "blank", "predict", "bug"}
