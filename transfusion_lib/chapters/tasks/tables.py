"""What the chapter "Tasks and data" shows of a data set: example pictures, counts, its datasheet, what splits share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from transfusion_lib import data
from transfusion_lib.analysis.gradcam import ANATOMY
from transfusion_lib.chapters.tasks.figures import Picture
from transfusion_lib.data.dataset import Split
from transfusion_lib.data.reading import leakage
from transfusion_lib.errors import DataError
from transfusion_lib.spec import DataSpec

NAMED = 5
"""Files that a datasheet on a page names of those that were left out; transfusion data show names all."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A data set's examples: a row for each class or label."""

    name: str
    synthetic: bool
    rows: dict[str, list[Picture]]


def natural(size: int) -> Picture:
    """Return a natural photograph, (size, size, 3): a flower, from scikit-learn's two sample images (CC BY)."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    pixels = load_sample_image("flower.jpg")
    edge = min(pixels.shape[:2])
    top, left = ((side - edge) // 2 for side in pixels.shape[:2])
    square = Image.fromarray(pixels[top : top + edge, left : left + edge])
    return Picture(pixels=np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)), title="natural photograph")


def sheets(specs: Sequence[DataSpec], *, examples: int) -> list[Sheet]:
    """Return the contact sheet of each data set; see ``sheet``."""
    return [sheet(spec, name=name, examples=examples) for spec, name in zip(specs, data.titles(specs), strict=True)]


def sheet(spec: DataSpec, *, examples: int, name: str | None = None) -> Sheet:
    """Return the first ``examples`` training pictures of each class, or of those that have each label; none of some."""
    dataset = data.load(spec)
    if dataset.train.images.ndim != 4:
        raise DataError(f"{spec.name}: its images are volumes; this page shows flat pictures only")
    outlined = [k for k, region in enumerate(dataset.regions) if region not in ANATOMY]
    rows = {}
    for k, label in enumerate(dataset.classes):
        labels = dataset.train.labels
        chosen = labels == k if dataset.kind == "multiclass" else labels[:, k] == 1
        places = chosen.nonzero()[:examples, 0].tolist()
        rows[label.replace("_", " ")] = [_picture(dataset.train, place, outlined) for place in places]
    return Sheet(name=name or dataset.name, synthetic=dataset.synthetic, rows=rows)


def side_by_side(sheets: Sequence[Sheet], *, size: int) -> list[Picture]:
    """Return the pictures of Figure 1: a natural photograph, then of each data set one that has findings."""
    found = [natural(size)]
    for one in sheets:
        picture = [row for row in one.rows.values() if row][-1][0]
        found.append(Picture(pixels=picture.pixels, title=_kind(one)))
    return found


def listed(pictures: Sequence[Picture]) -> pd.DataFrame:
    """Return which pictures are shown: title, height, width."""
    rows = [(one.title, *one.pixels.shape[:2]) for one in pictures]
    return pd.DataFrame(rows, columns=["picture", "height", "width"])


def listed_rows(one: Sheet) -> pd.DataFrame:
    """Return which pictures a contact sheet shows: class, id, share of the picture that is marked as a finding."""
    rows = [
        (name, picture.title, math.nan if picture.outline is None else float(picture.outline.mean()))
        for name, pictures in one.rows.items()
        for picture in pictures
    ]
    return pd.DataFrame(rows, columns=["class", "picture", "marked"])


def sheet_title(one: Sheet) -> str:
    """Return what a contact sheet shows, and that a synthetic one is synthetic."""
    outlined = any(picture.outline is not None for row in one.rows.values() for picture in row)
    return f"{_kind(one)}: {len(one.rows)} classes{', findings outlined' if outlined else ''}"


def balance_titles(counts: pd.DataFrame) -> dict[str, str]:
    """Return, for each data set, how far the class shares of two splits differ at most."""
    shares = counts.pivot_table(index=["data", "class"], columns="split", values="share", sort=False)
    gaps = (shares.max(axis=1) - shares.min(axis=1)).groupby("data").max()
    return {str(name): f"{name}: class shares differ by at most {gap:.0%} between splits" for name, gap in gaps.items()}


def counts(specs: Sequence[DataSpec]) -> pd.DataFrame:
    """Return one row per data set, split and class: data, split, class, images, share of the split."""
    rows = []
    for spec, title in zip(specs, data.titles(specs), strict=True):
        sheet = data.datasheet(data.load(spec))
        for split, numbers in sheet.counts.items():
            for name, images in zip(sheet.classes, numbers, strict=True):
                share = images / sheet.images[split]
                rows.append({"data": title, "split": split, "class": name, "images": images, "share": share})
    return pd.DataFrame(rows)


def datasheets(specs: Sequence[DataSpec]) -> pd.DataFrame:
    """Return the lines of each data set's datasheet, a column per data set."""
    columns = {}
    for spec, title in zip(specs, data.titles(specs), strict=True):
        sheet = data.datasheet(data.load(spec))
        lines = sheet.lines | {"fingerprint": sheet.lines["fingerprint"][:12]}
        if sheet.left_out:
            more = len(sheet.left_out) - NAMED
            named = [*sheet.left_out[:NAMED], *([f"and {more:,} more"] if more > 0 else [])]
            lines["left out"] = f"{len(sheet.left_out):,}: {'; '.join(named)}"
        for split, images in sheet.images.items():
            lines[split] = f"{images:,} images, {sheet.units[split]:,} units"
        columns[title] = lines
    return pd.DataFrame(columns).rename_axis("").fillna("").reset_index()


def shared(specs: Sequence[DataSpec]) -> pd.DataFrame:
    """Return what the splits of each data set share; a patient in two of them would have stopped the load."""
    rows = []
    for spec, title in zip(specs, data.titles(specs), strict=True):
        found = leakage.report(data.load(spec))
        rows.append(
            {
                "data": title,
                "units": found.units,
                "units in two splits": 0,
                "groups of identical images, one split": len(found.within),
                "across splits": len(found.across),
                "with other labels": found.conflicting,
            }
        )
    return pd.DataFrame(rows)


def _kind(one: Sheet) -> str:
    """Return a data set's name in words, and that it is synthetic where it is."""
    plain = one.name.replace("_", " ").removeprefix("synthetic ")
    return f"{plain} (synthetic)" if one.synthetic else plain


def _picture(split: Split, place: int, outlined: Sequence[int]) -> Picture:
    pixels = split.images[place].numpy()
    outline = None
    if split.masks is not None and outlined:
        outline = np.asarray(split.masks[place, list(outlined)].any(dim=0))
    return Picture(
        pixels=pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1), title=split.ids[place], outline=outline
    )
