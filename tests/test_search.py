"""The cut-point search: its plan, its judge, and what it must not look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from transfusion_lib import runs
from transfusion_lib.errors import SpecError
from transfusion_lib.runs import Run, search
from transfusion_lib.runs.search import Search, spec_at
from transfusion_lib.runs.store import Entry, Store
from transfusion_lib.spec import DataSpec, InitSpec, ModelSpec, RunSpec, Slim, TrainSpec, Truncate

RESNET = RunSpec(data=DataSpec(name="fundus"), model=ModelSpec(name="resnet50"), train=TrainSpec(steps=4, eval_every=2))
PRETRAINED = InitSpec(method="pretrained", weights="imagenet")


class Told(Run):
    """A run with the scores that a test gives it; its test scores may not be read."""

    @property
    def record(self) -> dict[str, Any]:
        cut = self.spec.model.truncate.at if self.spec.model.truncate else "whole"
        score = self.scores[cut] + 0.001 * self.spec.seed  # type: ignore[attr-defined]
        curve = Sealed(step=[0, 2, 4], val_auprc=[0.0, score, 1.0])
        return {"selected_step": 2, "dataset": {"kind": "multiclass"}, "curve": curve}


class Sealed(dict[str, Any]):
    """A curve whose test scores are out of bounds."""

    def __getitem__(self, name: str) -> Any:
        assert not name.startswith("test"), "the search looked at the test set"
        return super().__getitem__(name)


def told(scores: dict[str, float], asked: list[RunSpec]) -> search.Ensure:
    def ensure(specs: Sequence[RunSpec]) -> list[Run]:
        asked.extend(specs)
        found: list[Run] = []
        for spec in specs:
            run = Told(spec, Entry(Path("none")))
            object.__setattr__(run, "scores", scores)
            found.append(run)
        return found

    return ensure


def test_two_stages_find_the_planted_best_without_the_test_set() -> None:
    """Block 3 is the best block and block3.4 the best of all, as in the paper's TTL-1 and TTL-2."""
    blocks = {"conv1": 0.5, "block1": 0.6, "block2": 0.7, "block3": 0.9, "whole": 0.8}
    fine = {f"block3.{k}": 0.9 - 0.01 * (k - 4) ** 2 + 0.005 for k in range(1, 6)} | {"block4.1": 0.7, "block4.2": 0.7}
    asked: list[RunSpec] = []
    found = Search(base=RESNET, seeds=(0, 1)).run(told(blocks | fine, asked))
    assert found.block.cut == "block3"
    assert found.chosen.cut == "block3.4"
    assert found.chosen.score == pytest.approx(0.9055)
    assert [one.cut for one in found] == [
        "conv1", "block1", "block2", *(f"block3.{k}" for k in range(1, 6)), "block3", "block4.1", "block4.2", "block4"
    ]  # fmt: skip
    assert len(asked) == len(set(asked)) == 2 * 12
    assert len(asked[:10]) == 10
    assert {spec.seed for spec in asked} == {0, 1}


def test_of_equals_the_smaller_network() -> None:
    scores = dict.fromkeys(("conv1", "block1", "block2", "block3", "whole", *(f"block1.{k}" for k in (1, 2))), 0.9)
    found = Search(base=RESNET, seeds=(0,), reach=0).run(told(scores, []))
    assert found.chosen.cut == "conv1"


@pytest.mark.parametrize(
    ("block", "reach", "cuts"),
    [
        ("block1", None, ("block1.1", "block1.2", "block2.1", "block2.2", "block2.3")),
        ("block3", 1, ("block3.5", "block4.1")),
        ("block4", None, ("block4.1", "block4.2")),
        ("conv1", None, ("block1.1", "block1.2")),
        ("block2", 0, ()),
    ],
)
def test_neighbours_lie_between_the_neighbouring_blocks(block: str, reach: int | None, cuts: tuple[str, ...]) -> None:
    assert Search(base=RESNET, seeds=(0,), reach=reach).fine_cuts(block) == cuts


def test_the_whole_network_is_the_full_run_itself() -> None:
    base = RESNET.replace(init=PRETRAINED)
    assert spec_at(base, "block4") == base
    assert spec_at(base, "block4", pooled=False).model.truncate == Truncate(at="block4", pooled=False)
    assert spec_at(base, "block3").model.truncate == Truncate(at="block3")


def test_other_methods_and_transfused_starts() -> None:
    base = RESNET.replace(init=PRETRAINED)
    slim = spec_at(base, "block2", method="slim")
    assert slim.model.slim == Slim(above="block2")
    assert slim.init.up_to == "block2"
    assert spec_at(RESNET, "block2", method="slim").init == InitSpec()
    assert spec_at(base, "block2", method="freeze").train.freeze == "block2"
    assert Search(base=base, seeds=(0,), method="slim").block_cuts() == ("conv1", "block1", "block2", "block3")
    partly = RESNET.replace(init=InitSpec(method="pretrained", weights="imagenet", up_to="block3", above="mean_var"))
    assert spec_at(partly, "block2").init == PRETRAINED
    assert spec_at(partly, "block4.1").init == partly.init


def test_a_search_starts_from_a_whole_network_and_known_stages() -> None:
    with pytest.raises(SpecError, match="whole network"):
        spec_at(RESNET.replace(model=ModelSpec(name="resnet50", truncate=Truncate(at="block2"))), "block1")
    with pytest.raises(SpecError, match='did you mean "block3"'):
        spec_at(RESNET, "blok3")


def test_a_search_trains_nothing_twice(store: Store, small: RunSpec) -> None:
    search_ = Search(base=small.replace(train=small.train.replace(steps=4, eval_every=4)), seeds=(0, 1))
    trained: list[str] = []

    def ensure(specs: Sequence[RunSpec]) -> list[Run]:
        return runs.ensure(specs, store=store, say=trained.append)

    first, again = search_.run(ensure), search_.run(ensure)
    assert sum(": trained in" in line for line in trained) == 8  # four blocks of one unit each, two seeds
    assert [one.cut for one in first] == ["pool1", "pool2", "pool3", "pool4"]
    assert first.chosen.validation == again.chosen.validation
