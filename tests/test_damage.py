"""One byte of any file that this program keeps is changed: what was kept comes back as it was, or an error says so."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pictures import class_folders, write_files
from transfusion_lib import data, runs
from transfusion_lib.book import made
from transfusion_lib.book.execute import Build
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.reading import filesource
from transfusion_lib.errors import TransfusionError
from transfusion_lib.runs import analyses
from transfusion_lib.runs.records import Records
from transfusion_lib.runs.run import Run
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import ModelSpec, RunSpec, TrainSpec

EACH = 12
"""Damages of each kind of place; there are five."""


@dataclass(frozen=True)
class Place:
    """A folder of files, and what reads all of them."""

    folder: Path
    read: Callable[[], Any]


@analyses.stored("test_damage", version=1)
def analysed(run: Run) -> dict[str, Any]:
    """Return a number and a tensor of a run."""
    return {"number": run.final["val_auroc"], "tensor": torch.arange(5)}


@pytest.fixture
def places(store: Store, tmp_path: Path) -> dict[str, Place]:
    """A run with an analysis, a checkpoint, a cache of own images, records, a build."""
    root = write_files(tmp_path / "mine", class_folders(per_class=24))
    spec = RunSpec(
        data=data.spec_for(str(root), size=32),
        model=ModelSpec(name="cbr_tiny"),
        train=TrainSpec(steps=4, eval_every=2, batch_size=8, snapshots=(2,)),
    )
    [run] = runs.ensure([spec])
    analysed(run)
    recorded = Records(tmp_path / "results")
    recorded.publish({"study/quick": [spec]}, source=store)
    tensors = {"a": torch.arange(1000.0)}
    with store.claim("k" * 64) as claim:
        claim.write(tensors, {"step": "3"})
    build = Build("id", "quick", tmp_path / "book")
    write_files(
        build.folder, {"html/a.html": "<p>0.91</p>" * 50, "build.json": '{"build": "id"}', "source/_toc.yml": "root: a"}
    )
    made.write(build)

    def whole(one: Run) -> Any:
        return one.record, one.cases, one.spec, one.weights(), one.weights(2), analysed(one)

    def cached() -> Dataset:
        filesource._lists.clear()  # as in a new process
        return data.load(spec.data)

    def checked_records() -> Any:
        problems = Records(recorded.store.root).verify()
        if problems:
            raise TransfusionError(problems[0].what)
        [one] = Records(recorded.store.root).load([spec])
        return one.record, one.cases, one.spec

    def checked_build() -> Any:
        if changed := made.changed(build.folder):
            raise TransfusionError(f"{changed[0]} is not what was made")
        return made.load(build.folder, "build.json")

    def checkpoint() -> Any:
        with Store(store.root).claim("k" * 64) as claim:
            found = claim.read()
        if found is None:
            raise TransfusionError("no checkpoint: it begins again")
        return found

    return {
        "runs and analyses": Place(store.root, lambda: whole(runs.load(spec, store=Store(store.root)))),
        "checkpoints": Place(store.root / "work", checkpoint),
        "cache": Place(store.root / "data", cached),
        "records": Place(recorded.store.root, checked_records),
        "build": Place(build.folder, checked_build),
    }


def alike(one: Any, other: Any) -> bool:
    """Tell whether two values are the same to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, Dataset):
        return alike(vars(one), vars(other))
    if hasattr(one, "images"):
        return alike(vars(one), vars(other))
    return bool(one == other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["runs and analyses", "checkpoints", "cache", "records", "build"])
def test_one_damaged_byte_is_never_believed(
    places: dict[str, Place], kind: str, record_property: Callable[[str, object], None]
) -> None:
    place, chance = places[kind], random.Random(kind)
    sound = place.read()
    copy = place.folder.with_name("sound")
    shutil.copytree(place.folder, copy)
    below = ("runs", "analyses") if kind == "runs and analyses" else ("",)
    files = sorted(p for top in below for p in (place.folder / top).rglob("*") if p.is_file() and p.stat().st_size)
    files = [path for path in files if not path.name.endswith(("lock", "holder.json"))]
    by_suffix = {path.suffix + path.stem[:5]: path for path in chance.sample(files, len(files))}
    said: list[str] = []
    for number in range(EACH):
        path = list(by_suffix.values())[number % len(by_suffix)]
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.unlink()  # tensors that were read stay mapped to the sound file
        path.write_bytes(bytes(content))
        try:
            found = place.read()
        except TransfusionError as error:
            said.append(str(error))
        else:
            assert alike(found, sound), path
        shutil.rmtree(place.folder)
        shutil.copytree(copy, place.folder)
    record_property("said", f"{len(said)} of {EACH} in {len(by_suffix)} kinds of file")
    assert not [words for words in said if "\n" in words.strip()], "one line each"
    assert alike(place.read(), sound)
