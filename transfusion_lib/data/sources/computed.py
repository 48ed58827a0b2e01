"""Synthetic data sets: computed once, then kept beside the decoded ones."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from transfusion_lib.data.dataset import Dataset
from transfusion_lib.data.reading.cache import Rooms, keep
from transfusion_lib.data.reading.catalogue import Info
from transfusion_lib.data.reading.loading import Progress
from transfusion_lib.data.synthetic.drawn import Drawing
from transfusion_lib.spec import DataSpec


@dataclass(frozen=True, kw_only=True)
class ComputedSource:
    """A generator: a module with ``source``, ``fingerprint``, ``DEFAULTS`` and ``TASKS``, imported when first used."""

    info: Info
    module: str

    def find(self, spec: DataSpec) -> None:
        """Return None: there is nothing to look for."""

    def fingerprint(self, spec: DataSpec, *, cache: Path) -> str:
        """Return the generator's own fingerprint of ``spec``; ``cache`` is not needed."""
        return str(self.generator().fingerprint(spec))

    def load(self, spec: DataSpec, *, cache: Path, memory: int, progress: Progress | None) -> Dataset:
        """Return the data set, from the cache if it was computed before, memory-mapped beyond ``memory`` bytes."""
        name = f"{spec.name}-{spec.size}-{self.fingerprint(spec, cache=cache)[:16]}"

        def make() -> Dataset:
            generator = self.generator()
            asked = {"train": spec.train, "val": spec.val, "test": spec.test}
            total = sum(asked[split] or number for split, number in generator.DEFAULTS.items())
            with tqdm(total=total, desc=f"drawing {spec.name}", disable=None if progress is None else True) as bar:
                how = Drawing(progress=_over_splits(bar, total, progress), room=Rooms(cache, memory=memory))
                made: Dataset = generator.source(spec, how=how)
            return replace(made, name=spec.name)

        return keep(cache / "computed" / name, make, memory=memory)

    def generator(self) -> Any:
        """Return the module."""
        return importlib.import_module(self.module)


def _over_splits(bar: "tqdm[Any]", total: int, progress: Progress | None) -> Callable[[int], None]:
    """Return a callback that takes the pictures done of one split after the other and reports those of all."""
    earlier, last = 0, 0

    def report(done: int) -> None:
        nonlocal earlier, last
        if done <= last:  # the next split began
            earlier += last
        last = done
        bar.update(earlier + done - bar.n)
        if progress is not None:
            progress(earlier + done, total)

    return report
