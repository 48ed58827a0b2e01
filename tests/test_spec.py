"""Specs: what a key holds, what a wrong spec says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfusion_lib.errors import SpecError
from transfusion_lib.spec import (
    Augment,
    DataSpec,
    Gabor,
    InitSpec,
    ModelSpec,
    RunSpec,
    Slim,
    TrainSpec,
    Truncate,
    canonical_json,
)

PLAIN = RunSpec(
    data=DataSpec(name="fundus"), model=ModelSpec(name="cbr_tiny"), train=TrainSpec(steps=10, eval_every=3), seed=1
)
RICH = RunSpec(
    data=DataSpec(name="chest_xray", size=96, task="three_class", train=100, val=10, test=20, seed=3, on_bad="skip"),
    model=ModelSpec(name="resnet50", slim=Slim(above="block2"), truncate=Truncate(at="block3.4", pooled=False)),
    init=InitSpec(method="pretrained", up_to="block2", weights=PLAIN, gabor=Gabor(wavelengths=(3.0,))),
    train=TrainSpec(steps=9, eval_every=3, snapshots=(0, 3), augment=Augment(flip=True), select="best", freeze="conv1"),
)


def test_golden_key() -> None:
    """The canonical form must not change by accident: raise SEMANTICS by hand when a spec's meaning changes."""
    assert PLAIN.key(data="d" * 8, weights=None) == "1cd81588f9277493be6bb0861a72a1c144ff30c16b13d9ec286da662ea56b6d9"
    assert RICH.key(data="d" * 8, weights="w" * 8) == "6586a61c4a02f8173b98d741e6e529e26329af80dd773aac99827052e83c4864"


def test_golden_defaults() -> None:
    """A key leaves defaults out, so a default that changes must raise SEMANTICS; a new field may only be added."""
    spec = PLAIN.model_dump(mode="json")
    defaults: dict[str, dict[str, object]] = {
        "data": {"size": 64, "task": None, "train": None, "val": None, "test": None, "seed": 0, "split": "official",
                 "uncertain": "published", "unit": None, "on_bad": "error"},
        "model": {"in_channels": 3, "slim": None, "truncate": None},
        "init": {"method": "random", "up_to": None, "above": "random", "weights": None, "batch_norm": "reset",
                 "gabor": None, "keep_head": False},
        "train": {"batch_size": 32, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "momentum": 0.9,
                  "schedule": "constant", "select": "last", "freeze": None, "body_lr_scale": 1.0,
                  "augment": {"flip": False, "rotation": 0.0, "crop": 1.0, "brightness": 0.0}, "precision": "float32",
                  "class_weights": "none", "snapshots": []},
    }  # fmt: skip
    for part, fields in defaults.items():
        assert fields.items() <= spec[part].items(), part


@pytest.mark.parametrize("spec", [PLAIN, RICH])
def test_json_round_trip(spec: RunSpec) -> None:
    assert RunSpec.from_json(spec.to_json()) == spec
    assert RunSpec.from_json(spec.to_json(indent=1)).key(data="a", weights="b") == spec.key(data="a", weights="b")


def test_every_field_changes_the_key_but_the_place() -> None:
    """Walk all fields of a rich spec; each must matter, except where the files are."""
    changed = {
        "data": {"name": "x", "size": 97, "task": "a", "train": 1, "val": 1, "test": 1, "seed": 9,
                 "split": "drawn", "uncertain": "ones", "on_bad": "error", "unit": "patient"},
        "model": {"name": "x", "in_channels": 1, "slim": None, "truncate": None},
        "init": {"method": "mean_var", "up_to": "conv1", "above": "mean_var", "weights": RICH, "batch_norm": "keep",
                 "gabor": None, "keep_head": True},
        "train": {"steps": 10, "eval_every": 2, "batch_size": 2, "optimizer": "sgd", "learning_rate": 0.5,
                  "weight_decay": 0.5, "momentum": 0.5, "schedule": "cosine", "select": "last", "freeze": None,
                  "body_lr_scale": 0.1, "augment": Augment(rotation=3.0), "class_weights": "balanced",
                  "precision": "bfloat16", "snapshots": ()},
    }  # fmt: skip
    keys = {RICH.key(data="a", weights="b"), RICH.key(data="z", weights="b"), RICH.key(data="a", weights="z")}
    keys.add(RICH.replace(seed=99).key(data="a", weights="b"))
    count = 4
    for part, fields in changed.items():
        old = getattr(RICH, part)
        assert set(fields) | {"root"} == set(type(old).model_fields) | {"root"}
        for name, value in fields.items():
            keys.add(RICH.replace(**{part: old.replace(**{name: value})}).key(data="a", weights="b"))
            count += 1
    assert len(keys) == count
    moved = RICH.replace(data=RICH.data.replace(root="/elsewhere"))
    assert moved.key(data="a", weights="b") == RICH.key(data="a", weights="b")


def test_the_place_of_a_source_run_is_no_part_of_the_key() -> None:
    source = PLAIN.replace(data=PLAIN.data.replace(root="/elsewhere"))
    moved = RICH.replace(init=RICH.init.replace(weights=source))
    assert moved.key(data="a", weights="b") == RICH.key(data="a", weights="b")


@given(st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False) | st.integers()))
def test_canonical_json_ignores_order(values: dict[str, float]) -> None:
    assert canonical_json(values) == canonical_json(dict(reversed(values.items())))


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PLAIN.seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"data": {"name": "x", "sise": 3}}', 'did you mean "size"'),
        ('{"dat": {}}', 'did you mean "data"'),
        ('{"data": {"name": "x", "size": "64"}}', "size: .*integer"),
        ('{"data": {"name": "x", "size": true}}', "size: .*integer"),
        ('{"data": {"name": "x", "size": 8}}', "greater than or equal to 16"),
        ('{"train": {"steps": 0, "eval_every": 1}}', "greater than 0"),
        ('{"init": {"method": "pretrained"}}', "needs weights"),
        ('{"init": {"method": "pretrained", "weights": "imagenett"}}', "imagenett"),
        ('{"init": {"above": "mean_var"}}', "no effect without up_to"),
        ("{", "Invalid JSON"),
        ("[]", "object"),
    ],
)
def test_a_wrong_spec_names_the_file_and_the_fault(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        RunSpec.from_json(text, source="my.json")
    assert str(caught.value).startswith("my.json: ")
    assert "\n" not in str(caught.value)


def test_grid_holds_first_and_last_step() -> None:
    assert TrainSpec(steps=10, eval_every=3).grid == (0, 3, 6, 9, 10)
    assert TrainSpec(steps=9, eval_every=3).grid == (0, 3, 6, 9)
    assert TrainSpec(steps=2, eval_every=5).grid == (0, 2)


def test_snapshots_lie_on_the_way() -> None:
    with pytest.raises(SpecError, match="beyond the last step"):
        TrainSpec(steps=5, eval_every=1, snapshots=(6,))
    with pytest.raises(SpecError, match="must increase"):
        TrainSpec(steps=5, eval_every=1, snapshots=(3, 1))
