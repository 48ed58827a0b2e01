"""The book as one PDF: each page printed by Chromium, in reading order, its links leading into the same file.

Imports Playwright and pypdf only when asked, as the extra ``pdf`` brings them.
"""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urldefrag

from transfusion_lib.book import made
from transfusion_lib.book.assemble import pages
from transfusion_lib.book.project import Project
from transfusion_lib.errors import BuildError, MissingExtraError, UserError

if TYPE_CHECKING:
    from pypdf import PdfWriter

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LEFT_OUT = ("library",)  # a reference to look things up in, longer than all other pages together


def write(project: Project, *, say: Callable[[str], None]) -> Path:
    """Print the book that was built last, beside its pages, and return the file's path."""
    import yaml

    try:
        from playwright.sync_api import sync_playwright
        from pypdf import PdfReader, PdfWriter
    except ImportError as error:
        raise MissingExtraError(
            f"printing needs {error.name}; install with: pip install 'transfusion-reproduced[pdf]'"
        ) from error
    folder = project.build / "book"
    built = made.load(folder, "build.json")
    if built is None or not (folder / made.SUMS).is_file():
        raise BuildError("no book to print; make one first: transfusion book")
    for name in made.changed(folder):
        made.check(folder, name)
    toc = yaml.safe_load((folder / "source" / "_toc.yml").read_text(encoding="utf-8"))
    files = [folder / "html" / f"{page}.html" for page in pages(toc) if page not in LEFT_OUT]
    writer = PdfWriter()
    first: dict[str, int] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_browser(), args=["--no-sandbox"])
        shown = browser.new_page(color_scheme="light")
        for number, file in enumerate(files, start=1):
            shown.goto(file.as_uri())
            shown.wait_for_load_state("networkidle")
            printed = shown.pdf(format="A4", prefer_css_page_size=True, print_background=True, tagged=True)
            first[file.as_uri()] = len(writer.pages)
            writer.append(
                PdfReader(io.BytesIO(printed)), outline_item=shown.locator("h1").first.inner_text().strip("#\n ")
            )
            say(f"[{number}/{len(files)}] {file.relative_to(folder / 'html').with_suffix('')}")
        browser.close()
    _join(writer, first)
    writer.add_metadata({"/Title": f"Transfusion, reproduced (profile {built['profile']})"})
    target = folder / f"transfusion-{built['profile']}.pdf"
    waiting = target.with_suffix(".part")
    writer.write(waiting)
    waiting.replace(target)
    return target


def _browser() -> str:
    """Return the path of an installed Chromium; CHROMIUM may name one."""
    found = next(filter(None, (os.environ.get("CHROMIUM"), *map(shutil.which, BROWSERS))), None)
    if found is None:
        raise UserError("printing needs Chromium: install it (Debian: apt install chromium), or name one in CHROMIUM")
    return found


def _join(writer: "PdfWriter", first: dict[str, int]) -> None:
    """Lead links between the book's pages to their place in the file, and drop those to files that are not in it."""
    from pypdf.generic import ArrayObject, NameObject

    for page in writer.pages:
        kept = ArrayObject()
        for reference in page.get("/Annots", ArrayObject()):
            link = reference.get_object()
            address = link.get("/A", {}).get("/URI")
            if address is None or not str(address).startswith("file:"):
                kept.append(reference)
            elif (place := first.get(urldefrag(str(address)).url)) is not None:
                del link[NameObject("/A")]
                link[NameObject("/Dest")] = ArrayObject([writer.pages[place].indirect_reference, NameObject("/Fit")])
                kept.append(reference)
        if "/Annots" in page:
            page[NameObject("/Annots")] = kept
