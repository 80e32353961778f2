"""The practice page in chromium, with the real server, in a tiny house of the test's own."""

import shutil

import pytest
from learner import CHROMIUM, PATIENCE, REPOSITORY, Seen, Served

from grader.bank.catalog import House
from grader.bank.derived import build


def pytest_collection_modifyitems(items):
    """Without a browser, or the library that drives it, these cannot run, and that is said."""
    try:
        import playwright.sync_api  # noqa: F401  # asked for by name: whether it is there is the question
    except ImportError:
        why = "playwright is not installed (extra `dev`)"
    else:
        why = "" if CHROMIUM else "no chromium is installed"
    if why:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The bank with everything that `grader dev build` writes."""
    root = tmp_path_factory.mktemp("built") / "house"
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(REPOSITORY / "tests" / "grader" / "house", root, ignore=ignored)
    for file in build(House(root)):
        file.path.write_text(file.text, encoding="utf-8")
    return root


@pytest.fixture
def house(built, tmp_path):
    """A house of the test's own, not served yet; the learner's file is the stub."""
    shutil.copytree(built, tmp_path / "house")
    served = Served(tmp_path / "house")
    yield served
    served.end()


@pytest.fixture
def served(house):
    house.start()
    return house


@pytest.fixture(scope="module")  # while it is open its event loop runs in this process, which other tests cannot bear
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


_LISTEN = """
window.reports = [];
addEventListener("securitypolicyviolation", (e) => reports.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sample}`));
"""


@pytest.fixture
def context(chromium):
    """A browser of its own for a test. No page may break its policy, or fail without saying so."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE * 1000)
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(_LISTEN)
    failed = []
    context.on("weberror", lambda error: failed.append(str(error.error)))
    yield context
    reports = [one for page in context.pages for one in page.evaluate("window.reports || []")]
    context.close()
    assert not failed
    assert not reports


@pytest.fixture
def seen(context, served) -> Seen:
    return Seen(context.new_page(), served)
