"""The built book in a real browser, as its readers meet it. ``make look`` runs these on build/book/html.

They need Chromium (Debian: apt install chromium), whose path CHROMIUM may name, and skip, saying so, without it.
"""

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

from transfusion_lib.claims import TABLE

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
    broken = "Array.from(document.images).filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert shown.evaluate(broken) == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
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


def test_the_scoreboard_is_first_and_whole(site: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(site + "index.html")
    assert page.locator(".tf-board tbody tr").count() == len(TABLE)
    place = page.locator(".tf-total").bounding_box()
    assert place is not None
    assert place["y"] < 900, "the scoreboard begins on the first screen"
