"""An exported network in use. Its ONNX file alone says how images are read, what the answers mean, and where to cut.

``predict`` and ``evaluate`` know nothing else: the numbers are those of the file that is handed over.
"""

import base64
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from transfusion_lib.analysis.evaluation import Array, Cases, Points, Task, losses
from transfusion_lib.analysis.unseen import BATCH, KEY, Judge, decoding, seen
from transfusion_lib.cutting.export import need_packages
from transfusion_lib.data.dataset import Dataset, Split
from transfusion_lib.data.reading import archive
from transfusion_lib.data.reading.archive import IMAGES
from transfusion_lib.data.reading.catalogue import Item, Problems
from transfusion_lib.data.reading.tables import is_table
from transfusion_lib.data.sources import csvset
from transfusion_lib.errors import DataError, UserError, unknown
from transfusion_lib.runs.cases import hashed
from transfusion_lib.training.batches import match_channels

FILE = "model.onnx"


def metadata(
    dataset: Dataset, *, mean: Sequence[float], std: Sequence[float], points: Points, run: str
) -> dict[str, str]:
    """Return what an ONNX file says of itself, by key: words for a person, JSON for ``Model``."""
    how = decoding(dataset)
    size, channels = how["size"], how["channels"]
    resampling = f"the whole picture stretched to {size} x {size} pixels by Pillow's bilinear filter, which averages"
    if how.get("fit") == "field":
        resampling = f"cropped to what is brighter than black, padded to a square, then {resampling}"
    return {
        "classes": json.dumps(dataset.classes),
        "positive_class": json.dumps([dataset.classes[k] for k in dataset.positive or ()]),
        "answers": dataset.kind,
        "batch_dimension": "0, of images and of probabilities: any number of images at once",
        "input": f"float32, RGB (grey repeated), 0..1: levels of 8 bits divided by 255; decoded in {channels} channels",
        "resampling": resampling,
        "normalisation": f"inside the network: minus {list(mean)}, divided by {list(std)}",
        "decoding": json.dumps(how),
        "operating_points": json.dumps(points),
        "operating_points_chosen_on": f"{len(dataset.val)} validation images",
        "seen": base64.b64encode(b"".join(seen(dataset))).decode(),
        "data": f"{dataset.name}, task {dataset.task}, fingerprint {dataset.fingerprint}",
        "unit": dataset.notes.get("unit", "image"),
        "run": run,
    }


def describe(path: Path, values: Mapping[str, str]) -> None:
    """Write metadata into an ONNX file, and call the first dimension of its input and output ``batch``."""
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(model, dict(values))
    onnx.save(model, path)


def probabilities(session: Any, images: Tensor, *, batch: int = BATCH) -> Array:
    """Return an ONNX session's probabilities (n, classes) of uint8 images (n, channels, height, width)."""
    channels = session.get_inputs()[0].shape[1]
    parts = [match_channels(part.float() / 255, channels=channels).numpy() for part in images.split(batch)]
    return np.concatenate([session.run(None, {"images": part})[0] for part in parts]).astype(np.float64)


def cases(session: Any, split: Split) -> Cases:
    """Return the cases of a split of a loaded data set, as an ONNX session sees them."""
    chances = probabilities(session, split.images)
    return Cases(names=split.ids, units=split.units, truth=split.labels.numpy(), chances=chances)


def session_of(path: Path) -> Any:
    """Return an onnxruntime session of a file; a ``UserError`` where it is no ONNX."""
    need_packages("onnxruntime")
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, which share no base
        raise UserError(f"{path}: not an ONNX file ({str(error).splitlines()[0]}); export it again") from None


@dataclass(frozen=True, kw_only=True)
class Model:
    """An exported network."""

    path: Path
    session: Any
    judge: Judge
    points: Points
    """Thresholds by question, aim and level in per cent, chosen on validation images."""

    @classmethod
    def open(cls, place: Path) -> "Model":
        """Return the network in an ONNX file, or in the folder that ``transfusion cut`` wrote; else a ``UserError``."""
        path = place / FILE if place.is_dir() else place
        if not path.is_file():
            raise UserError(f"{path}: no such file; give the ONNX file, or the folder that transfusion cut wrote")
        session = session_of(path)
        about = session.get_modelmeta().custom_metadata_map
        try:
            classes = tuple(json.loads(about["classes"]))
            positive = tuple(classes.index(name) for name in json.loads(about["positive_class"]))
            points = {
                name: {aim: {int(level): at for level, at in levels.items()} for aim, levels in aims.items()}
                for name, aims in json.loads(about["operating_points"]).items()
            }
            known = base64.b64decode(about["seen"])
            return cls(
                path=path,
                session=session,
                judge=Judge(
                    name=str(path),
                    task=Task(kind=about["answers"], classes=classes, positive=positive or None),
                    decoding=json.loads(about["decoding"]),
                    seen=frozenset(known[at : at + KEY] for at in range(0, len(known), KEY)),
                    probabilities=partial(probabilities, session),
                ),
                points=points,
            )
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path}: does not say how to read images ({error}); export it with: transfusion cut"
            ) from None


def write_predictions(
    exported: Path, images: Path, *, out: Path | None, on_bad: str = "error", hide: bool = False
) -> list[str]:
    """Write an exported network's answers to a csv, without ``out`` to standard output; return what was left out."""
    judge = Model.open(exported).judge
    answers, left_out = predict(judge, images, on_bad=on_bad)
    with writing(out) if out else nullcontext(sys.stdout) as file:
        write_answers(file, answers, judge.task, hide=hide)
    return left_out


@contextmanager
def writing(path: Path) -> Iterator[IO[str]]:
    """Open a file to write text, its folder made; a ``UserError`` where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); give another place") from None


def predict(judge: Judge, place: Path, *, on_bad: str = "error") -> tuple[list[tuple[str, Array]], list[str]]:
    """Return name and probabilities of each image of a folder, zip, csv or single file, and what was left out.

    A file that cannot be read is a ``DataError``, with ``on_bad="skip"`` one line of what was left out.
    """
    if on_bad not in ("error", "skip"):
        raise UserError(unknown("on_bad", on_bad, ("error", "skip")))
    single = place.is_file() and place.suffix.lower() in IMAGES
    files = archive.open_files(place.parent if single else place)
    names = [place.name] if single else files.images()
    if place.is_file() and is_table(place.name):
        names = list(csvset.cells(files, only=place.name))
    if not names:
        raise DataError(f"{place}: no image in it; give a folder, a zip, a csv that names images, or an image")
    problems = Problems(raising=on_bad == "error")
    items = [Item(id=name, file=name, label=0, unit=name) for name in names]
    found = [(item.id, chance) for item, _, chance in judge.answers(judge.pictures(files).make(items), problems)]
    return found, problems.found


def write_cases(file: IO[str], cases: Cases, task: Task, *, hide: bool) -> None:
    """Write a row per case: name, unit, true class or labels, probability of each class, loss."""
    writer = csv.writer(file)
    truths = ["true"] if task.kind == "multiclass" else [f"true {name}" for name in task.classes]
    writer.writerow(["name", "unit", *truths, *(f"p {name}" for name in task.classes), "loss"])
    for name, unit, truth, chances, loss in zip(
        cases.names, cases.units, cases.truth, cases.chances, losses(cases, task), strict=True
    ):
        own = [task.classes[int(truth)]] if task.kind == "multiclass" else truth.tolist()
        shown = [hashed(name), hashed(unit)] if hide else [name, unit]
        writer.writerow([*shown, *own, *(f"{chance:.9g}" for chance in chances), f"{loss:.6g}"])


def write_answers(file: IO[str], answers: Iterable[tuple[str, Array]], task: Task, *, hide: bool) -> None:
    """Write a row per image: name, probability of each class."""
    writer = csv.writer(file)
    writer.writerow(["name", *task.classes])
    for name, chances in answers:
        writer.writerow([hashed(name) if hide else name, *(f"{chance:.9g}" for chance in chances)])
