"""Published records: finished runs and analyses without their weights, small enough for git, checked when read.

A folder of records has the layout of a store: ``runs/KEY`` and ``analyses/KEY``, each with a manifest of checksums. Its
tables give the checksum of each manifest: ``contents.csv`` of every run, ``analyses.csv`` of every analysis, and
``studies/STUDY/PROFILE.csv`` of the runs that one study reads, for studies share runs; ``SHA256SUMS`` has those of the
tables and of all else (``sums``). A run is found by its spec, so neither its data nor its pretrained weights need be at
hand; ``stale`` recomputes the keys where they are.
"""

import csv
import hashlib
import io
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transfusion_lib import paths, runs
from transfusion_lib.errors import MissingRunError, StoreError
from transfusion_lib.runs import analyses, sums
from transfusion_lib.runs.run import Run, find
from transfusion_lib.runs.store import MANIFEST, Entry, Problem, Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.training.metrics import headline

RUN_FILES = ("spec.json", "record.json", "cases.safetensors")
NEEDED = {runs.KIND: RUN_FILES, analyses.KIND: ("result.json",)}
CONTENTS = "contents.csv"
ANALYSES = "analyses.csv"
STUDIES = "studies"


class Records:
    """The records in a folder; see ``open_records``."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    @cached_property
    def by_spec(self) -> dict[RunSpec, Entry]:
        """Every recorded run by its spec, the place of its data left out."""
        found = {}
        for key in self.store.keys(runs.KIND):
            entry = self.entry(runs.KIND, key)
            spec = RunSpec.from_json(entry.read("spec.json"), source=str(entry.folder / "spec.json"))
            found[_placeless(spec)] = entry
        return found

    def has(self, spec: RunSpec) -> bool:
        """Tell whether a run is recorded."""
        return _placeless(spec) in self.by_spec

    def load(self, specs: Sequence[RunSpec]) -> list[Run]:
        """Return the recorded run of each spec; a ``MissingRunError`` says how many are not there, and the first."""
        known = self.by_spec
        missing = [spec for spec in specs if _placeless(spec) not in known]
        if missing:
            raise MissingRunError(
                f"{self.store.root} records {len(known)} runs, but not {len(missing)} of these {len(specs)}; the first "
                f"is {runs.label(missing[0])}. Use a profile that trains, or make it with: "
                f"transfusion run {shlex.quote(missing[0].to_json())}"
            )
        return [Run(spec, known[_placeless(spec)]) for spec in specs]

    def at_hand(self, specs: Iterable[RunSpec], *, source: Store) -> list[Run]:
        """Return each run from ``source``, where its analyses are, or else as recorded."""
        found = []
        for spec in specs:
            run, entry = find(spec, source), self.by_spec.get(_placeless(spec))
            found.append(run or (Run(spec, entry) if entry else runs.load(spec, store=source)))
        return found

    def entry(self, kind: str, key: str) -> Entry:
        """Return a recorded entry, whose errors say that git has it."""
        folder = self.store.root / kind / key
        return Entry(folder, repair=sums.repair(folder))

    def verify(self) -> list[Problem]:
        """Hash every file again, and compare the tables; return all that is wrong. Nothing is moved.

        A record that was changed together with its manifest is one that the tables do not list.
        """
        found = []
        for kind, needed in NEEDED.items():
            for key in self.store.keys(kind):
                try:
                    wrong = self.entry(kind, key).verify(needed)
                except StoreError as error:  # a disk that fails here may read the rest
                    wrong = str(error)
                found += [Problem(key, wrong)] if wrong else []
        beside = dict(sums.wrong(self.store.root))
        found += [Problem(name, wrong) for name, wrong in beside.items()]
        found += [lost for table in (CONTENTS, ANALYSES) if table not in beside for lost in self._lost(table)]
        if found:  # tables of damaged records would all differ
            return found
        for name, text in self.tables().items():
            if (self.store.root / name).read_bytes() != text.encode():
                found.append(Problem(name, "it does not list these records; transfusion publish writes it again"))
        return found

    def _lost(self, table: str) -> list[Problem]:
        """Return every run or analysis that a table lists and that is not there."""
        kind, path = runs.KIND if table == CONTENTS else analyses.KIND, self.store.root / table
        found = []
        for key in sorted(_keys_in(path) - set(self.store.keys(kind))) if path.is_file() else ():
            folder = path.parent / kind / key
            found.append(Problem(key, f"{folder} is missing, and {table} lists it; {sums.repair(folder)}"))
        return found

    def stale(self) -> list[str]:
        """Return each recorded run whose key is not the one that its spec has with today's data, weights and code."""
        found = []
        for spec, entry in self.by_spec.items():
            today = runs.key(spec)
            if today != entry.key:
                found.append(f"{runs.label(spec)}: recorded as {entry.key[:12]}, today {today[:12]}")
        return found

    def publish(self, studies: Mapping[str, Iterable[RunSpec]], *, source: Store) -> tuple[int, int]:
        """Copy the runs of each study from ``source``, their weights left out, and every analysis of them alone.

        ``studies`` are the runs by ``STUDY/PROFILE``. The runs whose weights they start from come too. Returns how many
        runs and analyses are new here. A run that is neither finished nor recorded is a ``MissingRunError``; nothing is
        then written.
        """
        found = self.at_hand(runs.with_sources(_all(studies)), source=source)
        before = {kind: set(self.store.keys(kind)) for kind in (runs.KIND, analyses.KIND)}
        for run in found:
            if run.key not in before[runs.KIND]:
                self.store.add(runs.KIND, run.key, {name: run.entry.read(name) for name in RUN_FILES})
        recorded = set(self.store.keys(runs.KIND))
        for key in source.keys(analyses.KIND):
            entry = Entry(source.root / analyses.KIND / key)
            if key not in before[analyses.KIND] and _runs_of(entry) <= recorded:
                self.store.add(analyses.KIND, key, {name: entry.read(name) for name in entry.manifest()})
        self._write_tables(studies)
        after = {kind: set(self.store.keys(kind)) for kind in before}
        return tuple(len(after[kind] - before[kind]) for kind in (runs.KIND, analyses.KIND))  # type: ignore[return-value]

    def prune(self, studies: Mapping[str, Iterable[RunSpec]]) -> tuple[int, int]:
        """Remove every study but these, every run that they do not read or start from, and the analyses of such runs.

        Returns how many runs and analyses are gone; git keeps what it was given.
        """
        kept = {_placeless(spec) for spec in runs.with_sources(_all(studies))}
        gone = {entry.key for spec, entry in self.by_spec.items() if spec not in kept}
        orphans = [key for key in self.store.keys(analyses.KIND) if _runs_of(self.entry(analyses.KIND, key)) & gone]
        for kind, keys in ((analyses.KIND, orphans), (runs.KIND, gone)):
            for key in keys:
                self.store.remove(kind, key)
        shutil.rmtree(self.store.root / STUDIES, ignore_errors=True)
        self._write_tables(studies)
        return len(gone), len(orphans)

    def tables(self, studies: Mapping[str, Iterable[RunSpec]] | None = None) -> dict[str, str]:
        """Return the text of every table by its path: of all runs, of all analyses, and of the runs of each study.

        Of the studies that have a table already, and of those in ``studies``, whose tables become new.
        """
        folder = self.store.root / STUDIES
        members = {
            path.relative_to(folder).with_suffix("").as_posix(): _keys_in(path) for path in folder.glob("*/*.csv")
        }
        for name, specs in (studies or {}).items():
            members[name] = {run.key for run in self.load(runs.with_sources(specs))}
        rows = sorted(
            (_row(Run(spec, entry)) for spec, entry in self.by_spec.items()),
            key=lambda row: list(map(str, row.values())),
        )
        computed = [_analysis_row(self.entry(analyses.KIND, key)) for key in self.store.keys(analyses.KIND)]
        found = {CONTENTS: _csv(rows), ANALYSES: _csv(sorted(computed, key=lambda row: list(row.values())))}
        for name, keys in sorted(members.items()):
            found[f"{STUDIES}/{name}.csv"] = _csv([row for row in rows if row["key"] in keys])
        return found

    def _write_tables(self, studies: Mapping[str, Iterable[RunSpec]]) -> None:
        shutil.rmtree(self.store.root / "fresh", ignore_errors=True)
        self.__dict__.pop("by_spec", None)
        for name, text in self.tables(studies).items():
            path = self.store.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, text)
        sums.write(self.store.root)


def open_records(root: Path | None = None) -> Records:
    """Return the records in ``root``, by default the checkout's ``results``."""
    folder = root or paths.records_root()
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
    name, value = headline(run.final, split="test")
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
        "manifest_sha256": _manifest_sha256(run.entry),
    }


def _analysis_row(entry: Entry) -> dict[str, str]:
    """Return what the table of analyses says of one."""
    described = entry.json("result.json")["description"]
    return {
        "analysis": described["analysis"],
        "version": str(described["version"]),
        "runs": " ".join(sorted(key[:12] for key in _runs_of(entry))),
        "key": entry.key,
        "manifest_sha256": _manifest_sha256(entry),
    }


def _manifest_sha256(entry: Entry) -> str:
    return hashlib.sha256((entry.folder / MANIFEST).read_bytes()).hexdigest()


def _all(studies: Mapping[str, Iterable[RunSpec]]) -> list[RunSpec]:
    return [spec for specs in studies.values() for spec in specs]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["key"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _keys_in(table: Path) -> set[str]:
    """Return the keys of a table's rows; of one that is no such table, none."""
    with table.open(encoding="utf-8", errors="replace", newline="") as file:
        return {row["key"] for row in csv.DictReader(file) if row.get("key")}


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as part:
        part.write(text)
    os.chmod(part.name, 0o644)  # noqa: PTH101  # a NamedTemporaryFile is for its owner alone
    Path(part.name).replace(path)
