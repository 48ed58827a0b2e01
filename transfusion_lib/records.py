"""Published records: finished runs and analyses without their weights, small enough for git, checked when read.

A folder of records has the layout of a store (``runs/KEY``, ``analyses/KEY``, each with a manifest of checksums), and
``contents.csv``, one row a run with the checksum of its manifest. A run is found by its spec, so neither its data nor
its pretrained weights need be at hand; ``stale`` recomputes the keys where they are.
"""

import csv
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transfusion_lib import analyses, places, runs
from transfusion_lib.errors import MissingRunError, StoreError
from transfusion_lib.metrics import headline
from transfusion_lib.run import Run, find
from transfusion_lib.spec import RunSpec
from transfusion_lib.store import MANIFEST, Entry, Problem, Store

RUN_FILES = ("spec.json", "record.json", "cases.safetensors")
CONTENTS = "contents.csv"


class Records:
    """The records in a folder; see ``open_records``."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    @cached_property
    def by_spec(self) -> dict[RunSpec, Entry]:
        """Every recorded run by its spec, the place of its data left out."""
        found = {}
        for key in self.store.keys(runs.KIND):
            entry = Entry(self.store.root / runs.KIND / key)
            spec = RunSpec.from_json(entry.read("spec.json"), source=str(entry.folder / "spec.json"))
            found[_placeless(spec)] = entry
        return found

    def load(self, specs: Sequence[RunSpec]) -> list[Run]:
        """Return the recorded run of each spec; a ``MissingRunError`` says how many are not there, and the first."""
        known = self.by_spec
        missing = [spec for spec in specs if _placeless(spec) not in known]
        if missing:
            raise MissingRunError(
                f"{self.store.root} records {len(known)} runs, but not {len(missing)} of these {len(specs)}; the first "
                f"is {runs.label(missing[0])}. Use a profile that trains, or make it with: "
                f"transfusion run '{missing[0].to_json()}'"
            )
        return [Run(spec, known[_placeless(spec)]) for spec in specs]

    def at_hand(self, specs: Iterable[RunSpec], *, source: Store) -> list[Run]:
        """Return each run from ``source``, where its analyses are, or else as recorded."""
        found = []
        for spec in specs:
            run, entry = find(spec, source), self.by_spec.get(_placeless(spec))
            found.append(run or (Run(spec, entry) if entry else runs.load(spec, store=source)))
        return found

    def verify(self) -> list[Problem]:
        """Hash every file again, and compare the table of contents; return what is wrong. Nothing is moved.

        A record that was changed together with its manifest is one that the contents do not list.
        """
        found = []
        for kind in (runs.KIND, analyses.KIND):
            for key in self.store.keys(kind):
                wrong = Entry(self.store.root / kind / key).verify()
                found += [Problem(key, wrong)] if wrong else []
        contents = self.store.root / CONTENTS
        if not found and contents.is_file() and contents.read_text(encoding="utf-8") != self.contents():
            found.append(Problem(CONTENTS, "it does not list these records; transfusion publish writes it again"))
        return found

    def stale(self) -> list[str]:
        """Return each recorded run whose key is not the one that its spec has with today's data, weights and code."""
        found = []
        for spec, entry in self.by_spec.items():
            today = runs.key(spec)
            if today != entry.key:
                found.append(f"{runs.label(spec)}: recorded as {entry.key[:12]}, today {today[:12]}")
        return found

    def publish(self, specs: Iterable[RunSpec], *, source: Store) -> tuple[int, int]:
        """Copy what ``source`` holds of these runs, their weights left out, and every analysis of them alone.

        The runs whose weights they start from come too. Returns how many runs and analyses are new here. A run that
        is neither finished nor recorded is a ``MissingRunError``; nothing is then written.
        """
        found = self.at_hand(runs.with_sources(specs), source=source)
        before = {kind: set(self.store.keys(kind)) for kind in (runs.KIND, analyses.KIND)}
        for run in found:
            if run.key not in before[runs.KIND]:
                self.store.add(runs.KIND, run.key, {name: run.entry.read(name) for name in RUN_FILES})
        recorded = set(self.store.keys(runs.KIND))
        for key in source.keys(analyses.KIND):
            entry = Entry(source.root / analyses.KIND / key)
            if key not in before[analyses.KIND] and _runs_of(entry) <= recorded:
                self.store.add(analyses.KIND, key, {name: entry.read(name) for name in entry.manifest()})
        self.__dict__.pop("by_spec", None)
        self.write_contents()
        after = {kind: set(self.store.keys(kind)) for kind in before}
        shutil.rmtree(self.store.root / "fresh", ignore_errors=True)
        return tuple(len(after[kind] - before[kind]) for kind in (runs.KIND, analyses.KIND))  # type: ignore[return-value]

    def prune(self, specs: Iterable[RunSpec]) -> tuple[int, int]:
        """Remove every recorded run but these and those whose weights they start from, and the analyses of such runs.

        Returns how many runs and analyses are gone; git keeps what it was given.
        """
        kept = {_placeless(spec) for spec in runs.with_sources(specs)}
        gone = {entry.key for spec, entry in self.by_spec.items() if spec not in kept}
        orphans = [
            key
            for key in self.store.keys(analyses.KIND)
            if _runs_of(Entry(self.store.root / analyses.KIND / key)) & gone
        ]
        for kind, keys in ((analyses.KIND, orphans), (runs.KIND, gone)):
            for key in keys:
                self.store.remove(kind, key)
        shutil.rmtree(self.store.root / "fresh", ignore_errors=True)
        self.__dict__.pop("by_spec", None)
        self.write_contents()
        return len(gone), len(orphans)

    def write_contents(self) -> None:
        """Write the table of contents."""
        _replace(self.store.root / CONTENTS, self.contents())

    def contents(self) -> str:
        """Return the table of contents: one row a run in a stable order, with the checksum of its manifest."""
        rows = sorted(
            (_row(Run(spec, entry)) for spec, entry in self.by_spec.items()),
            key=lambda row: list(map(str, row.values())),
        )
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["key"], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        return text.getvalue()


def open_records(root: Path | None = None) -> Records:
    """Return the records in ``root``, by default the checkout's ``results``."""
    folder = root or places.records_root()
    if not (folder / runs.KIND).is_dir():
        raise StoreError(f"{folder} holds no records; train a study, then: transfusion publish")
    return Records(folder)


def _placeless(spec: RunSpec) -> RunSpec:
    """Return a spec without the folders of its data, which are the reader's own."""
    init = spec.init
    if isinstance(init.weights, RunSpec):
        init = init.replace(weights=_placeless(init.weights))
    return spec.replace(data=spec.data.replace(root=None), init=init)


def _runs_of(analysis: Entry) -> set[str]:
    """Return the keys of all runs that an analysis is of."""
    return set(_run_keys(analysis.json("result.json")["description"]["arguments"]))


def _run_keys(described: Any) -> list[str]:
    """Return the keys of all runs in an analysis's described arguments."""
    if isinstance(described, dict):
        if "$run" in described:
            return [described["$run"]]
        return [key for value in described.values() for key in _run_keys(value)]
    if isinstance(described, list):
        return [key for value in described for key in _run_keys(value)]
    return []


def _row(run: Run) -> dict[str, Any]:
    """Return what the table of contents says of a run."""
    spec, record = run.spec, run.record
    name, value = headline(run.curve)
    return {
        "data": f"{record['dataset']['name']} {record['dataset']['task']} {spec.data.size}",
        "run": runs.label(spec),
        "steps": spec.train.steps,
        "precision": spec.train.precision,
        "seed": spec.seed,
        "score": name,
        "value": f"{value:.4f}",
        "seconds": round(record["seconds"]),
        "key": run.key,
        "manifest_sha256": hashlib.sha256((run.entry.folder / MANIFEST).read_bytes()).hexdigest(),
    }


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as part:
        part.write(text)
    os.chmod(part.name, 0o644)  # noqa: PTH101  # a NamedTemporaryFile is for its owner alone
    Path(part.name).replace(path)
