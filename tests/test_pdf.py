"""The book as one PDF: links lead into the same file, and nothing in it names this machine."""

import io
import unicodedata
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

from transfusion_lib.book import pdf, project
from transfusion_lib.errors import BuildError, UserError


def linked(*addresses: str) -> PdfWriter:
    """Return two blank pages, the first with a link to each address."""
    writer = PdfWriter()
    writer.add_blank_page(200, 200)
    writer.add_blank_page(200, 200)
    for address in addresses:
        link = Link(rect=(0, 0, 9, 9), url="placeholder")
        link[NameObject("/A")] = DictionaryObject(
            {NameObject("/S"): NameObject("/URI"), NameObject("/URI"): TextStringObject(address)}
        )
        writer.add_annotation(0, link)
    return writer


def test_links_lead_into_the_file_and_none_names_this_machine() -> None:
    writer = linked("file:///book/two.html#part", "file:///book/figure.csv", "https://arxiv.org/abs/1902.07208")
    pdf._join(writer, {"file:///book/one.html": 0, "file:///book/two.html": 1})
    written = io.BytesIO()
    writer.write(written)
    reader = PdfReader(written)
    inside, outside = (one.get_object() for one in reader.pages[0]["/Annots"])  # type: ignore[attr-defined]
    assert inside["/Dest"][0].get_object() == reader.pages[1].get_object()
    assert outside["/A"]["/URI"] == "https://arxiv.org/abs/1902.07208"
    assert b"file:///" not in written.getvalue()


def test_without_a_book_or_a_browser_the_repair_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="make one first: transfusion book"):
        pdf.write(project.Project(tmp_path), say=print)
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="CHROMIUM"):
        pdf._browser()
    monkeypatch.setenv("CHROMIUM", "/opt/chromium")
    assert pdf._browser() == "/opt/chromium"


@pytest.mark.browser
def test_the_printed_book_has_every_page_in_order() -> None:
    """Of the book that ``make look`` looks at."""
    here = project.find()
    if not (here.build / "book" / "build.json").is_file():
        pytest.skip("no book in build/: make book")
    try:
        pdf._browser()
    except UserError as error:
        pytest.skip(str(error))
    lines: list[str] = []
    reader = PdfReader(pdf.write(here, say=lines.append))
    marks = [one for one in reader.outline if not isinstance(one, list)]
    places = [reader.get_destination_page_number(one) or 0 for one in marks]
    assert len(marks) == len(lines) >= 10
    assert marks[0].title == "Transfusion, reproduced"
    assert places == sorted(set(places))
    for mark, place in zip(marks, places, strict=True):
        text = unicodedata.normalize("NFKC", reader.pages[place].extract_text())  # ligatures are letters
        assert str(mark.title) in " ".join(text.split())
    uses = [one.get_object() for page in reader.pages for one in page.get("/Annots", ArrayObject())]
    assert not any(str(one.get("/A", {}).get("/URI", "")).startswith("file:") for one in uses)
