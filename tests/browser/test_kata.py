"""A learner writes, runs and reads what is wrong. The numbers are those of the page's specification."""

import re

from learner import ID, Seen, until
from playwright.sync_api import expect


def test_01_a_first_visit_leads_to_the_first_part(seen):
    seen.open("/")
    expect(seen.page.get_by_text("Begin here")).to_be_visible()
    seen.page.get_by_role("link", name="Begin").click()
    expect(seen.page.get_by_role("heading", level=1)).to_have_text("Running mean")
    expect(seen.part("batch_mean")).to_have_class(re.compile("here"))
    expect(seen.page.locator(".begin")).to_contain_text("Begin with batch_mean")
    assert seen.page.locator(".part.failed").count() == 0
    assert "token" not in seen.page.url


def test_02_what_is_typed_reaches_the_disk(seen):
    seen.open().at('"""dl_901')
    seen.type(" # mine: é")
    seen.on_disk("# mine: é")
    expect(seen.page.get_by_text("saved ✓")).to_be_visible()
    assert not [one for one in seen.served.file.parent.iterdir() if ".part" in one.name]


def test_03_a_verdict_comes_before_the_run_ends(context, house):

    gate = house.gate()
    house.write()
    house.start()
    seen = Seen(context.new_page(), house).open()
    seen.page.keyboard.press("Control+Enter")
    expect(seen.part("batch_mean").locator(".standing")).to_have_text("3 pass so far")
    expect(seen.page.get_by_text(re.compile(r"\d of 5"))).to_be_visible()
    seen.keep("running")
    assert not house.judged()
    gate.touch()
    expect(seen.page.locator(".won")).to_have_count(2)
    assert len(house.judged()) == 1


def test_04_a_wrong_value_says_what_does_not_hold_and_where(seen):
    seen.served.write(("x.sum(0) / len(x)", "x.sum(0)"))
    seen.open().run()
    part = seen.part("batch_mean")
    expect(part.locator(".property")).to_have_text("The mean runs over the first axis.")
    expect(part.locator(".message")).to_contain_text("worst at")
    expect(part.locator(".message")).to_contain_text("a sum")
    earned = seen.page.get_by_role("article", name="Earned: RunningMean")
    expect(earned.get_by_text("RunningMean")).to_be_visible()
    expect(earned.get_by_text("moves the mean by its share")).to_be_hidden()  # in short: what fails is to be in sight
    grid = part.get_by_role("grid")
    expect(grid.get_by_role("gridcell")).to_have_count(3)
    expect(part.locator("figure")).to_have_attribute("aria-label", re.compile("3 of 3"))
    worst = grid.locator("[tabindex='0']")
    expect(worst).to_have_attribute("aria-label", re.compile(r"d \d.*the worst: expected"))
    worst.focus()
    seen.page.keyboard.press("ArrowLeft")
    seen.page.keyboard.press("ArrowLeft")
    expect(grid.locator(":focus")).to_have_attribute("aria-label", re.compile("^d 0: off by"))
    seen.keep("wrong")


def test_05_the_line_of_an_exception_is_marked_and_f8_goes_there(seen):
    seen.served.write(("self.count += len(x)", "self.count += len(x) + undefined"))
    seen.open().run()
    expect(seen.page.locator(".cm-lintRange-error")).to_contain_text("undefined")
    seen.page.keyboard.press("Control+Home")
    seen.page.keyboard.press("F8")
    expect(seen.page.locator(".cm-activeLine")).to_contain_text("undefined")
    expect(seen.part("RunningMean")).to_have_class(re.compile("here"))


def test_of_a_file_that_is_not_python_no_check_is_counted(seen):
    seen.served.write(("def batch_mean(", "def batch_mean((("))
    seen.open().run()
    expect(seen.page.get_by_text("is not valid Python").first).to_be_visible()
    expect(seen.part("batch_mean").locator(".standing")).to_have_text("error")


def test_06_an_edit_makes_verdicts_old_and_its_undo_makes_them_current(seen):
    seen.served.write()
    seen.open().run()
    judged = seen.page.locator(".judged")
    expect(judged).to_contain_text("judged: this text · 4 checks")
    seen.at("return self.mean")
    seen.type("  # other")
    expect(judged).to_contain_text("an older text")
    expect(seen.part("batch_mean")).to_have_class(re.compile("stale"))
    seen.page.keyboard.press("Control+z")
    expect(judged).to_contain_text("judged: this text")
    expect(seen.part("batch_mean")).not_to_have_class(re.compile("stale"))


def test_verdicts_of_an_untouched_stub_say_nothing_of_a_newer_text_and_cut_no_name(seen):
    seen.open().run()
    begin = seen.page.get_by_text("Nothing is written yet")
    expect(begin).to_contain_text("Begin with batch_mean")
    seen.at("def batch_mean")
    seen.type("  # begun")
    expect(seen.part("batch_mean")).to_have_class(re.compile("stale"))
    expect(begin).to_have_count(0)
    seen.page.set_viewport_size({"width": 1130, "height": 800})
    cut = "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent)"
    assert seen.page.locator(".part .name").evaluate_all(cut) == []


def test_11_a_save_during_a_run_takes_its_place(context, house):

    gate = house.gate()
    house.write()
    house.start()
    seen = Seen(context.new_page(), house).open()
    seen.page.keyboard.press("Control+Enter")
    expect(seen.part("batch_mean").locator(".standing")).to_have_text("3 pass so far")
    newer = house.write(("the mean of nothing", "no rows"))
    expect(seen.line("no rows")).to_be_visible()
    expect(seen.page.locator(".judged")).to_have_text("judging")  # the newer one, not "an older text"
    expect(seen.part("batch_mean").locator(".standing")).to_have_text("3 pass so far")
    gate.touch()
    expect(seen.page.locator(".won")).to_have_count(2)
    until(house.judged, "the end of the run")
    assert house.judged() == [newer]


def test_12_an_endless_loop_is_stopped_and_the_next_run_works(context, house):

    house.patient()
    house.write(("    if len(x) == 0:", "    while True: pass\n    if len(x) == 0:"))
    house.start()
    seen = Seen(context.new_page(), house).open()
    expect(seen.page.get_by_text("The checks warm up")).to_have_count(0)
    seen.page.keyboard.press("Control+Enter")
    expect(seen.page.get_by_text(re.compile("0 of 4"))).to_be_visible()
    seen.page.keyboard.press("Control+.")
    expect(seen.page.get_by_text("Stopped: that run counts for nothing.")).to_be_visible()
    house.write()
    expect(seen.page.locator(".won")).to_have_count(2)
    assert len(house.judged()) == 1


def test_17_markup_of_a_learner_is_text(seen):
    image = "<img src=x onerror='window.hit=1'>"
    seen.served.write(
        ('"the mean of nothing"', f'"{image}"'),
        ("    return x.sum(0) / len(x)", f'    print("{image}")\n    raise KeyError("{image}")'),
    )
    seen.open().run()
    part = seen.part("batch_mean")
    expect(part.locator(".message").first).to_contain_text(image)
    part.locator("details.check.wrong summary").first.click()
    expect(part.locator(".message", has_text=image)).to_have_count(2)  # one of each check that fails
    assert seen.page.evaluate("window.hit") is None
    assert seen.page.locator("main img").count() == 0


def test_18_the_reference_opens_when_it_is_earned(seen):
    seen.open(f"/compare/{ID}/batch_mean")
    expect(seen.page.get_by_text("Not earned yet: batch_mean.")).to_be_visible()
    seen.page.get_by_role("link", name="Back to the code").click()
    seen.code.wait_for()
    seen.served.write(("x.sum(0) / len(x)", "x.sum(0) / x.shape[0]"))
    card = seen.page.get_by_role("article", name="Earned: batch_mean")
    expect(card).to_contain_text("+30")
    expect(card).to_contain_text("The sum is divided by the number of rows")
    card.get_by_text("What is the mean of an empty batch?").click()
    expect(card.get_by_text("There is none: 0 / 0 is undefined.")).to_be_visible()
    seen.keep("earned")
    card.get_by_role("link", name="Compare with the reference").click()
    expect(seen.page.get_by_role("textbox", name="The reference of batch_mean")).to_contain_text("x.sum(0) / len(x)")
    expect(seen.page.get_by_role("textbox", name="Your text")).to_contain_text("x.shape[0]")
    seen.keep("compare")


def test_19_after_a_reset_the_attempt_can_be_taken_back(seen):
    mine = seen.served.write()
    seen.open().run()
    seen.page.get_by_role("button", name="Reset…").click()
    seen.page.get_by_role("button", name="Stub of the file").click()
    seen.on_disk("NotImplementedError")
    expect(seen.line("NotImplementedError")).to_be_visible()
    assert mine in seen.served.kept()
    seen.page.get_by_role("link", name="Compare").first.click()
    seen.page.get_by_role("button", name=re.compile("#1")).click()

    def all_is_back():
        """Take the next lines, if some still differ; at once, since the two texts may be laid out anew meanwhile."""
        seen.page.evaluate(
            "document.querySelector('.take')?.dispatchEvent(new MouseEvent('mousedown', {bubbles: true}))"
        )
        return seen.served.text == mine

    until(all_is_back, "the attempt on disk")


def test_the_attempt_that_was_chosen_last_is_shown_whichever_comes_last(seen):
    seen.served.write(("the mean of nothing", "first"))
    seen.open().run()
    seen.served.write(("the mean of nothing", "second"))
    until(lambda: len(seen.served.judged()) > 1, "the second run")
    page, held = seen.page, []
    page.route("**/attempts/2", lambda route: held.append(route))
    page.get_by_role("link", name="Compare").first.click()
    label = page.locator(".labels span").first
    expect(label).to_have_text("Attempt 1")
    page.get_by_role("button", name=re.compile("#2")).click()
    until(lambda: held or page.evaluate("0"), "the request for it")
    with page.expect_response("**/attempts/1"):
        page.get_by_role("button", name=re.compile("#1")).click()
    with page.expect_response("**/attempts/2") as late:
        held[0].continue_()
    late.value.finished()
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    expect(label).to_have_text("Attempt 1")


def test_what_code_prints_stands_folded_under_its_check(seen):
    says = '    print("\\n".join(f"row {i} of {len(x)}" for i in range(12)))\n'
    seen.served.write(("    return x.sum(0) / len(x)", f"{says}    return x.sum(0)"))
    seen.open().run()
    failure = seen.part("batch_mean").locator(".failure").first
    failure.get_by_text(re.compile(r"printed \d+ lines")).click()
    shown = failure.locator(".printed pre")
    expect(shown).to_contain_text("row 7 of 5")
    expect(shown).not_to_contain_text("row 8")
    failure.get_by_role("button", name=re.compile("all")).click()
    expect(shown).to_contain_text("row 11 of 5")


def test_lines_are_tried_below_the_file(seen):
    seen.served.write()
    seen.open()
    seen.page.get_by_text("Try a few lines below the file").click()
    box = seen.page.get_by_label("Lines to try")
    box.fill("x = torch.ones(2, 3)\nprint('sum', x.sum().item())\nbatch_mean(x)")
    box.press("Control+Enter")
    said = seen.page.get_by_role("group", name="What came of it")
    expect(said).to_contain_text("sum 6.0")
    expect(said.locator(".value")).to_contain_text("tensor([1., 1., 1.])")
    seen.keep("try")
    box.fill("<b>undefined")
    box.press("Control+Enter")
    expect(said.locator(".problem")).to_contain_text("not valid Python")
    assert seen.served.kept() == []


def test_a_link_to_a_heading_stays_on_the_kata(context, house):
    readme = house.root / "exercises" / ID / "README.md"
    below = "\n\n".join(f"Paragraph {i}." for i in range(80))
    readme.write_text(
        readme.read_text().replace("## Parts", f"[down](#far-below)\n\n{below}\n\n## Far below\n\n## Parts")
    )
    house.start()
    seen = Seen(context.new_page(), house).open()
    heading = seen.page.get_by_role("heading", name="Far below")
    expect(heading).not_to_be_in_viewport()
    seen.page.get_by_role("link", name="down").click()
    expect(heading).to_be_in_viewport()
    assert f"/kata/{ID}" in seen.page.url
