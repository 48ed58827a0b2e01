"""The built book in a real browser, as its readers meet it. ``make look`` runs these on build/book/html.

They need Chromium (Debian: apt install chromium), whose path CHROMIUM may name, and skip, saying so, without it.
"""

import base64
import csv
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from transfusion_lib.papers import CLAIMS

pytestmark = pytest.mark.browser

BOOK = Path(os.environ.get("TRANSFUSION_BOOK", Path(__file__).resolve().parents[1] / "build" / "book" / "html"))
PAGES = sorted(
    str(path.relative_to(BOOK))
    for path in BOOK.rglob("*.html")
    if not path.name.startswith(("search", "genindex")) and "_static" not in path.parts
)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The book on a server of this machine."""
    if not PAGES:
        pytest.skip(f"no book in {BOOK}: make book")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(BOOK))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium here: apt install chromium, or name one in CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (360, "dark")])
def test_a_page_opens_whole_without_errors_and_without_other_hosts(
    site: str, browser: Browser, page: str, width: int, theme: str
) -> None:
    shown = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)  # type: ignore[arg-type]
    faults: list[str] = []
    received: list[int] = []
    shown.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    shown.on("pageerror", lambda error: faults.append(str(error)))
    shown.on("request", lambda request: None if request.url.startswith((site, "data:")) else faults.append(request.url))
    shown.on("response", lambda answer: received.append(int(answer.headers.get("content-length", 0))))
    shown.goto(site + page)
    shown.wait_for_load_state("networkidle")
    assert not faults
    # The frame that figures open in has no source until one does.
    broken = "[...document.querySelectorAll('img[src]')].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert shown.evaluate(broken) == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    clipped = """[...document.querySelectorAll('.output > *')].filter(part => part.getClientRects().length
        && part.getBoundingClientRect().top < part.parentElement.getBoundingClientRect().top - 1
        ).map(part => part.innerText)"""
    assert shown.evaluate(clipped) == [], "cut off by the box around it"
    shown.close()


@pytest.mark.parametrize("page", PAGES)
def test_every_internal_link_and_download_answers(site: str, page: str) -> None:
    text = (BOOK / page).read_text(encoding="utf-8")
    known = {page: text}
    for link in sorted(set(re.findall(r'<a\b[^>]*?href="([^"]+)"', text))):
        if re.match(r"[a-z]+:", link):
            continue
        address, anchor = urldefrag(link)
        target = unquote(urljoin(page, address)) if address else page
        file = BOOK / target
        assert file.is_file(), f"{page} links to {link}, which is not there"
        if anchor and file.suffix == ".html":
            known.setdefault(target, file.read_text(encoding="utf-8"))
            assert re.search(rf'id="{re.escape(unquote(anchor))}"', known[target]), f"{page}: no anchor {link}"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(site: str, browser: Browser, page: str, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    shown = browser.new_page(color_scheme=theme)  # type: ignore[arg-type]
    shown.goto(site + page)
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]}
    found = Axe().run(shown, options=options).response["violations"]
    serious = [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    shown.close()
    assert not serious, "\n".join(serious)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_small(page: str) -> None:
    """The page itself and its figures; scripts and styles are shared by all pages."""
    text = (BOOK / page).read_text(encoding="utf-8")
    images = {unquote(urljoin(page, link)) for link in re.findall(r'<img\b[^>]*?src="([^":]+)"', text)}
    assert len(text) + sum((BOOK / image).stat().st_size for image in images) < 1_500_000


def test_search_finds_a_term(site: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site + "search.html?q=censored")
    page.wait_for_selector("ul.search li a", timeout=15_000)
    assert "deviations" in " ".join(results(page))


def results(page: Page) -> list[str]:
    """Return the addresses that a search found."""
    return [str(link.get_attribute("href")) for link in page.query_selector_all("ul.search li a")]


def test_the_answers_are_first_and_the_scoreboard_is_whole(site: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(site + "index.html")
    assert page.locator(".tf-board tbody tr").count() == len(CLAIMS)
    place = page.locator("article li").first.bounding_box()
    assert place is not None
    assert place["y"] < 900, "the answers begin on the first screen"


CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]


def first(kind: str) -> str:
    """Return the first chapter whose page has ``kind``."""
    found = [page for page in CHAPTERS if kind in (BOOK / page).read_text(encoding="utf-8")]
    if not found:
        pytest.skip(f"no chapter of this book has {kind}")
    return found[0]


def test_a_claim_of_the_scoreboard_leads_to_its_card(site: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(site + "index.html")
    links = page.locator(".tf-board a")
    if not links.count():
        pytest.skip("no chapter of this book shows a claim")
    links.first.click()
    page.wait_for_load_state()
    assert page.locator(".tf-claim:target").count() == 1
    page.close()


@pytest.mark.parametrize("page", CHAPTERS)
def test_verdicts_stand_below_the_question_and_lead_to_their_cards(page: str) -> None:
    text = (BOOK / page).read_text(encoding="utf-8")
    box = re.search(r'<div class="tf-claims">(.*?)</div>', text, re.S)
    if box is None:
        assert 'class="tf-claim"' not in text
        return
    assert text.index("tf-claims") < text.index("cell_input"), "before any code"
    for claim in re.findall(r'href="#(\w+)"', box[1]):
        assert f'class="tf-claim" id="{claim}"' in text
    assert box[1].count("tf-verdict") == box[1].count("<p>")


def test_a_table_sorts_by_a_click_and_by_keyboard_and_back(site: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site + first("<thead>"))
    head = page.locator(".cell_output table:has(.tf-sort)").first
    if not head.count():
        pytest.skip("no table of this chapter has three rows")
    button = head.locator(".tf-sort").first
    before = head.locator("tbody tr").all_inner_texts()
    button.click()
    assert button.locator("..").get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    assert button.locator("..").get_attribute("aria-sort") == "descending"
    assert sorted(head.locator("tbody tr").all_inner_texts()) == sorted(before)
    button.press("Enter")
    assert head.locator("tbody tr").all_inner_texts() == before
    page.close()


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_figure_is_legible_on_a_phone(site: str, browser: Browser, page: str) -> None:
    """Never shrunk below seven tenths of the size that it was drawn for: it scrolls in its own box."""
    shown = browser.new_page(viewport={"width": 360, "height": 800})
    shown.goto(site + page)
    shrunk = """[...document.querySelectorAll('.bd-article :is(.cell_output, figure) img')].filter(i => i.naturalWidth
        && i.getClientRects().length && i.clientWidth < 0.7 * Math.min(i.naturalWidth, 672)).map(i => i.alt)"""
    assert shown.evaluate(shrunk) == []
    shown.close()


def test_a_figure_opens_large_goes_on_and_closes_by_keyboard(site: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(site + first("tf-below"))
    figure = page.locator(".cell_output img.tf-zoom").first
    figure.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog.tf-lightbox[open] img")
    assert large.get_attribute("alt") == figure.get_attribute("alt")
    box, small = large.bounding_box(), figure.bounding_box()
    assert box is not None
    assert small is not None
    assert box["width"] > small["width"]
    assert page.locator("dialog p").inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.classList.contains('tf-zoom')")
    page.close()


def test_a_figures_numbers_open_as_a_table_that_is_its_csv(site: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site + first("data:text/csv"))
    page.locator(".tf-values summary").first.click()
    table = page.locator(".tf-values table").first
    table.wait_for()
    link = str(page.locator('.tf-below a[href^="data:text/csv"]').first.get_attribute("href"))
    lines = base64.b64decode(link.partition(",")[2]).decode().splitlines()
    assert table.locator("thead th").count() == len(next(csv.reader(lines)))
    assert table.locator("tbody tr").count() == min(len(lines) - 1, 400)
    page.close()


def test_a_term_leads_to_the_glossary(site: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site + first("glossary.html#term"))
    page.locator('.bd-article a[href*="glossary.html#term"]').first.click()
    page.wait_for_load_state()
    assert "glossary.html#term" in page.url
    assert page.locator("dt:target").count() == 1
    page.close()


def test_a_chapter_prints_whole(site: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site + first("tf-below"))
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 960})  # A4 within its margins
    hidden = ".bd-sidebar-primary, .bd-header-article, .tf-values"
    assert page.eval_on_selector_all(hidden, "all => all.every(e => !e.offsetParent && !e.offsetHeight)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off on paper"
    assert page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF")
    page.close()
