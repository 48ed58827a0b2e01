"""The pages in a real browser: no other host, no console error, readable in the dark and on a phone.

A small book is built here; the last test looks at the book that ``make book`` built, where there is one.
"""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.books import OPENING, PARAMETERS, add_chapter, code, prose, small_project
from transfusion_lib.book import build
from transfusion_lib.book.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRAW = """\
from IPython.display import HTML, display
svg = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 700 350'><path d='M20 320 L680 30' stroke='#0072b2'/></svg>"
display({"image/svg+xml": svg}, raw=True, metadata={"image/svg+xml": {"alt": "a line that rises"}})"""
TABLE = """\
head = "".join(f"<th>a long heading {k}</th>" for k in range(9))
HTML(f"<div class='tf-banner'><p>banner</p></div><table class='dataframe'><thead><tr>{head}</tr></thead></table>")"""
WIDE = """\
print("one very long line " * 20)
HTML("<div class='tf-foot'><table><tr><th>Code</th><td>" + "f" * 90 + "</td></tr></table></div>")"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a small book with a formula, a figure, a wide table and long lines."""
    place = small_project(tmp_path_factory.mktemp("book"))
    math = "Text with a formula $\\sqrt{d/n}$ and a display:\n\n$$\\rho = \\frac{1}{d}\\sum_i \\rho_i$$"
    cells = [prose(OPENING), code(PARAMETERS, "parameters"), prose(math), code(DRAW), code(TABLE), code(WIDE)]
    add_chapter(place, "02-shown", *cells)
    page = build.chapter(Project(place.root), "shown", assignments=["seeds=[7]"], say=lambda _line: None)
    return page.parents[1]


def look(browser: Any, html: Path, *, width: int, scheme: str) -> dict[str, np.ndarray[Any, Any]]:
    """Open every page, hold it to what any page must be, and return a picture of each."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    foreign: list[str] = []
    complaints: list[str] = []
    tab.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else foreign.append(request.url)
    )
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    pictures = {}
    for page in sorted(html.rglob("*.html")):
        if page.is_relative_to(html / "_static"):
            continue
        tab.goto(page.as_uri(), wait_until="load")
        tab.wait_for_timeout(300)
        name = str(page.relative_to(html))
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways at {width} px"
        broken = tab.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
        assert not broken, name
        pictures[name] = np.asarray(Image.open(BytesIO(tab.screenshot(full_page=True))).convert("L"))
    assert not foreign
    assert not complaints
    context.close()
    return pictures


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_at_every_width_and_in_the_dark(browser: Any, html: Path, width: int, scheme: str) -> None:
    pictures = look(browser, html, width=width, scheme=scheme)
    assert {"index.html", "method.html", "search.html", "notebooks/02-shown.html"} <= set(pictures)
    for name, picture in pictures.items():
        background = float(np.median(picture))
        assert background > 240 if scheme == "light" else background < 40, name
        assert picture.std() > 5, f"{name} is empty"


def test_a_chapter_reads_well(browser: Any, html: Path) -> None:
    tab = browser.new_context(viewport={"width": 360, "height": 800}, color_scheme="dark").new_page()
    tab.goto((html / "notebooks" / "02-shown.html").as_uri())
    style = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).filter, e.alt]"
    paper, dimmed, alt = tab.eval_on_selector(".cell_output img", style)
    assert (paper, dimmed, alt) == ("rgb(244, 245, 243)", "brightness(0.92)", "a line that rises")
    scrolls = "e => { while (e && getComputedStyle(e).overflowX != 'auto') e = e.parentElement; return !!e }"
    assert tab.eval_on_selector("table.dataframe", scrolls)
    label = "e => [e.open, e.querySelector('summary').innerText.trim()]"
    folded = "div.tag_{}parameters details"
    names = "dataset, seeds, steps, threshold, smoke"
    assert tab.eval_on_selector(folded.format(""), label) == [False, f"Run with: {names}"]
    assert tab.eval_on_selector(folded.format("injected-"), label) == [False, "Changed for this build: seeds"]
    assert tab.eval_on_selector_all("math", "all => all.map(m => m.getBoundingClientRect().width > 5)") == [True, True]
    readable = "e => getComputedStyle(e).backgroundColor"
    assert tab.eval_on_selector(".cell_output .text_html:has(.tf-foot)", readable) == "rgba(0, 0, 0, 0)"


def test_the_search_works_without_a_server(browser: Any, html: Path) -> None:
    tab = browser.new_page()
    tab.goto((html / "search.html").as_uri() + "?q=censored")
    tab.wait_for_selector("#search-results li a", timeout=20_000)
    assert "method.html" in str(tab.eval_on_selector_all("#search-results a", "all => all.map(a => a.href)"))


def test_the_book_that_make_book_built(browser: Any) -> None:
    built = ROOT / "build" / "book" / "html"
    if not built.is_dir():
        pytest.skip("no book here: make book")
    for width, scheme in ((1280, "light"), (360, "dark")):
        look(browser, built, width=width, scheme=scheme)
