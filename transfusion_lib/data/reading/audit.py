"""What anyone should see of their own images before they train: copies by name, sizes and depths, a contact sheet.

``of`` looks, ``block`` is the part that stands on every page made from own data, ``page`` a page of its own. A page
holds everything that it shows, runs no script and loads nothing.
"""

import base64
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from transfusion_lib.data.reading import copies, decode
from transfusion_lib.data.reading.archive import Files
from transfusion_lib.data.reading.catalogue import Catalogue, Item
from transfusion_lib.data.reading.loading import FilePictures, quiet
from transfusion_lib.data.reading.splits import Parts
from transfusion_lib.errors import DataError, UserError, printable
from transfusion_lib.markup import grid, text
from transfusion_lib.paths import store_root

if TYPE_CHECKING:
    from transfusion_lib.data.reading.describe import Check, Datasheet

SHOWN, MOST = 12, 240
"""Pictures of a class, and of all classes together."""
EDGE = 96  # pixels of a picture on the contact sheet
LISTED = 200  # groups of copies, and lines of a list
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.2rem .8rem;text-align:left;vertical-align:top;"
    "border-bottom:1px solid #8886;overflow-wrap:anywhere}.tf-leak{color:#c0341d}img{margin:2px}"
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images that show the same."""

    names: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    identical: bool
    """Byte by byte; else the same picture flipped, turned, cropped a little, brightened or packed anew."""

    @property
    def conflicting(self) -> bool:
        """Tell whether they are labelled differently."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was seen of the files of a data set."""

    groups: tuple[Group, ...]
    forms: dict[str, int]
    """Number of images by size, colours and depth, the most frequent first."""
    pictures: dict[str, tuple[tuple[str, bytes], ...]]
    """Some images of each class, name and JPEG."""


def of(files: Files, catalogue: Catalogue, parts: Parts, *, cache: Path, nearly: bool) -> Audit:
    """Audit the images of ``parts``; if ``nearly``, look for near copies too and remember them in ``cache``."""
    home = {item.id: split for split, part in parts.items() for item in part}
    items = [item for part in parts.values() for item in part]
    alike = copies.groups(files, items, catalogue, cache=cache, nearly=nearly)
    return Audit(
        groups=tuple(
            Group(
                names=tuple(item.id for item in group),
                splits=tuple(home[item.id] for item in group),
                labels=tuple(_label(item, catalogue) for item in group),
                identical=len({files.digest(item.file) for item in group}) == 1,
            )
            for group in alike
        ),
        forms=dict(Counter(_form(files, item) for item in items).most_common()),
        pictures=_contact(files, items, catalogue),
    )


def _label(item: Item, catalogue: Catalogue) -> str:
    if isinstance(item.label, int):
        return catalogue.classes[item.label] if catalogue.kind == "multiclass" else ""
    return ", ".join(name for name, value in zip(catalogue.classes, item.label, strict=True) if value == 1) or "none"


def _form(files: Files, item: Item) -> str:
    try:
        return decode.form(files.read(item.file), name=files.location(item.file))
    except DataError:
        return "cannot be read"


def _contact(files: Files, items: Sequence[Item], catalogue: Catalogue) -> dict[str, tuple[tuple[str, bytes], ...]]:
    """Return a few images of each class, evenly from first to last."""
    of_class: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        names = _label(item, catalogue)
        for name in [names] if catalogue.kind == "multiclass" else filter(None, names.split(", ")):
            of_class[name].append(item)
    each = max(1, min(SHOWN, MOST // max(1, len(of_class))))
    how = FilePictures(name="contact", files=files, size=EDGE, channels=3, fit=catalogue.fit, white=catalogue.white)
    found = {}
    with quiet():
        for name, some in list(of_class.items())[:MOST]:
            chosen = [some[k] for k in np.unique(np.linspace(0, len(some) - 1, each).astype(int))]
            made = [(item, image) for item, image in how.make(chosen) if not isinstance(image, DataError)]
            found[name] = tuple((item.id, _jpeg(image)) for item, image in made)
    return found


def _jpeg(image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    target = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(target, "JPEG", quality=80)
    return target.getvalue()


def block(sheet: "Datasheet", audit: Audit | None) -> str:
    """Return the audit as HTML without a heading above the third level."""
    splits = list(sheet.images)
    rows = [("images", *sheet.images.values()), ("units", *sheet.units.values())]
    rows += [(name, *(sheet.counts[split][k] for split in splits)) for k, name in enumerate(sheet.classes)]
    unit = f"<p>Unit that no two splits share: <b>{text(sheet.lines.get('unit', 'image'))}</b>."
    positive = sheet.lines.get("positive class")
    parts = [
        grid(["", *splits], rows),
        unit + (f" Positive class: <b>{text(positive)}</b>." if positive else "") + "</p>",
        *(f'<p><strong class="tf-leak">{text(printable(leak))}.</strong></p>' for leak in sheet.leaks),
        _list("Left out", sheet.left_out),
        _list("Read otherwise than written, left aside or merged", sheet.remarks),
    ]
    if audit is not None:
        parts += [_copies(audit), "<h3>Sizes and depths</h3>", _forms(audit.forms), _sheets(audit)]
    return f'<div class="tf-audit">{"".join(parts)}</div>'


def _copies(audit: Audit) -> str:
    conflicts = sum(group.conflicting for group in audit.groups)
    if not audit.groups:
        return "<h3>Copies</h3><p>No two images show the same.</p>"
    head = f"{len(audit.groups):,} groups of images that show the same, {conflicts:,} of them with different labels."
    ordered = sorted(audit.groups, key=lambda one: (not one.conflicting, len(set(one.splits)) == 1))
    rows = [
        (
            "identical files" if one.identical else "near copies",
            "labels differ" if one.conflicting else "",
            "; ".join(
                f"{printable(name)} ({split}, {printable(label)})"
                for name, split, label in zip(one.names, one.splits, one.labels, strict=True)
            ),
        )
        for one in ordered[:LISTED]
    ]
    more = f"<p>and {len(ordered) - LISTED:,} groups more</p>" if len(ordered) > LISTED else ""
    folded = f"<details><summary>by name</summary>{grid(['', '', 'images'], rows)}{more}</details>"
    return f"<h3>Copies</h3><p>{head}</p>{folded}"


def _forms(forms: Mapping[str, int]) -> str:
    rows = [(form, f"{count:,}") for form, count in list(forms.items())[:SHOWN]]
    rest = len(forms) - len(rows)
    if rest > 0:
        rows.append((f"{rest:,} other sizes", f"{sum(forms.values()) - sum(list(forms.values())[:SHOWN]):,}"))
    return grid(["", "images"], rows)


def _sheets(audit: Audit) -> str:
    return "<h3>Contact sheets</h3>" + "".join(
        f"<p><b>{text(printable(name))}</b></p><p>"
        + "".join(
            f'<img width="{EDGE}" height="{EDGE}" alt="{text(printable(own))}" title="{text(printable(own))}" '
            f'src="data:image/jpeg;base64,{base64.b64encode(content).decode()}">'
            for own, content in pictures
        )
        + "</p>"
        for name, pictures in audit.pictures.items()
    )


def _list(heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    more = [f"and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    items = "".join(f"<li>{text(printable(line))}</li>" for line in [*lines[:LISTED], *more])
    return f"<h3>{heading}: {len(lines):,}</h3><ul>{items}</ul>"


def write(check: "Check", *, file: Path | None) -> Path:
    """Write the page of a check into ``file``, by default below the run store, and return its place."""
    path = str(check.path.absolute()).encode(errors="surrogateescape")
    own = hashlib.blake2b(path, digest_size=6).hexdigest()  # two folders may share a name
    place = file or store_root() / "audits" / f"{own}.html"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page(check), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"{place}: cannot be written ({error.strerror or error}); name another place") from None
    return place


def page(check: "Check") -> str:
    """Return a page of its own with the audit of files that were checked."""
    name = text(printable(str(check.path)))
    faults = _list("Faults, each with its repair", check.problems) or "<p>No fault was found.</p>"
    known = set(check.sheet.remarks + check.sheet.leaks) if check.sheet else set()
    notes = _list("Notes", [note for note in check.notes if note not in known])
    body = block(check.sheet, check.audit) if check.sheet else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>Audit of {name}</title>'
        f"<style>{STYLE}</style></head><body><h1>Audit of {name}</h1>"
        f"<p>{check.images:,} images, read as: {text(check.name or 'unknown')}.</p>{faults}{notes}{body}"
        "</body></html>\n"
    )
