"""The picture that the README opens with: the demonstration's mistake, as the page shows it.

To write it anew, and small:

    PICTURES=docs pytest tests/browser/test_readme_picture.py
    pngquant -f --ext .png 160 docs/practice.png
"""

import shutil

import pytest
from learner import REPOSITORY, Seen, Served
from playwright.sync_api import expect

KATA = "dl_011_kv_cache"


@pytest.fixture
def collection(tmp_path):
    """The collection's own house."""
    root = tmp_path / "house"
    hidden = shutil.ignore_patterns("__pycache__", ".*", "grader", "reference", "browser")
    for name in ("exercises", "solutions", "tests"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=hidden)
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(REPOSITORY / name, root)
    served = Served(root, f"{KATA}/kv_cache.py")
    yield served
    served.end()


def test_the_mask_that_forgets_the_past(context, collection):
    collection.write(("position = past[:, None, None, None] +", "position = 0 * past[:, None, None, None] +"))
    collection.start()
    seen = Seen(context.new_page(), collection).open(f"/kata/{KATA}/prefill")
    seen.run()
    part = seen.part("prefill")
    expect(part.locator(".property")).to_contain_text("all 8 ways to cut it")
    expect(part.get_by_role("gridcell")).to_have_count(20)  # t by d
    expect(part.locator(".piece")).to_have_text(["1", "3"])
    expect(part.locator(".cell.l0")).to_have_count(5 + 1)  # the first token is right; one more in the legend
    seen.page.set_viewport_size({"width": 1280, "height": 800})
    seen.page.reload()  # as it stands: not the moment in which other parts were earned
    expect(part.get_by_role("gridcell")).to_have_count(20)
    expect(seen.page.locator(".cm-activeLine")).to_contain_text("def prefill")
    for _ in range(100):  # the editor goes to the part by itself, and then shows what stands there alone
        if seen.line("position = 0 *").count():
            break
        seen.page.locator(".cm-scroller").first.evaluate("(editor) => editor.scrollBy(0, 60)")
        seen.page.wait_for_timeout(50)
    expect(seen.line("position = 0 *").locator("span").first).to_be_visible()  # in colour
    seen.keep("practice")
