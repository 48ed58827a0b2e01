"""Synthetic data sets: computed once, then kept beside the decoded ones."""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path

from transfusion_lib.data.cache import keep
from transfusion_lib.data.catalogue import Info
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.loading import Progress
from transfusion_lib.spec import DataSpec, canonical_json


@dataclass(frozen=True, kw_only=True)
class ComputedSource:
    """A generator: a module with ``source(spec) -> Dataset`` and ``VERSION``, imported when first used."""

    info: Info
    module: str

    def find(self, spec: DataSpec) -> None:
        """Return None: there is nothing to look for."""

    def fingerprint(self, spec: DataSpec, *, cache: Path) -> str:
        """Return the sha256 of the generator's version and the spec; ``cache`` is not needed."""
        version = importlib.import_module(self.module).VERSION
        described = spec.model_dump(mode="json", exclude={"root", "on_bad"})
        return hashlib.sha256(canonical_json([self.module, version, described]).encode()).hexdigest()

    def load(self, spec: DataSpec, *, cache: Path, memory: int, progress: Progress | None) -> Dataset:
        """Return the data set, from the cache if it was computed before; always in memory."""
        print_of = self.fingerprint(spec, cache=cache)

        def make() -> Dataset:
            made: Dataset = importlib.import_module(self.module).source(spec)
            return made

        return keep(cache / "computed" / f"{spec.name}-{print_of[:16]}", make)
