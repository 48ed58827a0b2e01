"""U-Nets over the table of stages, their scores, and runs that train them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.networks import enliven, images, network, seeded, source
from tests.pictures import encoded, gradient, write_files
from transfusion_lib import data, networks, runs
from transfusion_lib.chapters.segmentation import tables
from transfusion_lib.errors import DataError, SpecError
from transfusion_lib.networks import UNet
from transfusion_lib.networks.init import network_for
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import Augment, DataSpec, InitSpec, ModelSpec, RunSpec, Slim, TrainSpec, Truncate
from transfusion_lib.training import metrics
from transfusion_lib.training.batches import augment
from transfusion_lib.training.device import Resources, resources
from transfusion_lib.training.train import _Run

LUNGS = RunSpec(
    data=DataSpec(name="synthetic_chest", task="lungs", size=32, train=24, val=8, test=12),
    model=ModelSpec(name="unet_cbr_tiny"),
    train=TrainSpec(steps=6, eval_every=3, batch_size=6, select="best"),
)


@pytest.mark.parametrize(("cut", "depth"), [(None, 5), ("block3", 4), ("block2", 3), ("block1", 2)])
def test_a_cut_unet_is_the_librarys_unet_of_that_depth(cut: str | None, depth: int) -> None:
    """The same weights give the same scores as segmentation_models_pytorch's own network."""
    import segmentation_models_pytorch as smp

    mine = network(ModelSpec(name="unet_resnet34", truncate=Truncate(at=cut) if cut else None)).eval()
    enliven(mine)
    channels = (256, 128, 64, 32, 16)[-depth:]
    theirs = smp.Unet(
        "resnet34", encoder_weights=None, encoder_depth=depth, decoder_channels=channels, classes=3
    ).eval()
    unused = tuple(f"encoder.layer{number}" for number in range(depth, 5))
    names = [name for name in theirs.state_dict() if not name.startswith(unused)]
    theirs.load_state_dict(dict(zip(names, mine.state_dict().values(), strict=True)), strict=depth == 5)
    x = images("resnet34")
    with torch.no_grad():
        assert torch.equal(mine(x), theirs(x))


@pytest.mark.parametrize("name", ["unet_efficientnet_lite0", "unet_cbr_tiny"])
@pytest.mark.parametrize("edge", [32, 40])
def test_every_pixel_gets_a_score_wherever_it_is_cut(name: str, edge: int) -> None:
    for cut in (None, *network(name).stages):
        spec = ModelSpec(name=name, truncate=Truncate(at=cut) if cut else None)
        built = network(spec).eval()
        with torch.no_grad():
            assert built(torch.randn(2, 3, edge, edge)).shape == (2, 3, edge, edge)


def test_the_decoder_sees_rectified_maps_in_training_too() -> None:
    """Faster orders of layers may not reach between batch norm and the ReLU of a CBR, where a U-Net looks."""
    run = _Run(LUNGS, data.load(LUNGS.data), source=None, resources=Resources(device=torch.device("cpu")))
    seen: list[Tensor] = []
    run.network.head.register_forward_pre_hook(lambda _, args: seen.extend(args[0]))
    run.take_step()
    assert [y.shape[-1] for y in seen] == [32, 16, 8, 4, 2]
    assert all((y >= 0).all() for y in seen)


def test_the_encoder_takes_a_classifiers_weights_and_the_decoder_is_new() -> None:
    init = InitSpec(method="pretrained", weights="imagenet")
    given = source("cbr_tiny")
    built = network_for(
        ModelSpec(name="unet_cbr_tiny"), init, num_outputs=1, size=32, source=given, generator=seeded(5)
    )
    random = network_for(
        ModelSpec(name="unet_cbr_tiny"), InitSpec(), num_outputs=1, size=32, source=None, generator=seeded(5)
    )
    state, other = built.state_dict(), random.state_dict()
    assert all(torch.equal(state[name], given[name]) for name in given if name.startswith("body."))
    assert all(torch.equal(state[name], other[name]) for name in state if name.startswith("head."))
    assert networks.architecture("unet_efficientnet_lite0").weights == ("imagenet",)


def test_building_draws_from_no_generator_but_its_own() -> None:
    before = torch.get_rng_state()
    assert torch.equal(network("unet_cbr_tiny").state_dict()["head.last.0.weight"],
                       network("unet_cbr_tiny").state_dict()["head.last.0.weight"])  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)


def test_surgery_without_a_place_is_refused() -> None:
    for spec, says in (
        (ModelSpec(name="unet_cbr_tiny", slim=Slim(above="pool2")), "Slim is not defined"),
        (ModelSpec(name="unet_cbr_tiny", truncate=Truncate(at="pool2", pooled=False)), "no head to pool"),
        (ModelSpec(name="unet_cbr_tini"), 'did you mean "cbr_tiny"'),
    ):
        with pytest.raises(SpecError, match=says):
            network(spec)


def masks(*rows: str) -> Tensor:
    return torch.tensor([[int(pixel) for pixel in row] for row in rows]).reshape(len(rows), 1, 1, -1)


def test_dice_and_jaccard_by_hand() -> None:
    truth, predicted = masks("1100", "1111", "0000", "0000"), masks("0110", "1111", "0000", "0001")
    found = metrics.overlap(predicted.bool(), truth)[:, 0]
    assert found.tolist() == [[0.5, pytest.approx(1 / 3)], [1, 1], [1, 1], [0, 0]]
    means = metrics.summary(found[:, None], truth, kind="segmentation")
    assert means == {"dice": 0.625, "jaccard": pytest.approx(7 / 12), "dice_by_region": [0.625]}


def test_the_loss_falls_towards_the_mask() -> None:
    truth = (torch.rand(3, 2, 8, 8, generator=seeded()) > 0.7).to(torch.uint8)
    signs = 2 * truth.float() - 1
    losses = [float(metrics.loss(scale * signs, truth, kind="segmentation")) for scale in (-5, 0, 1, 20)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(0, abs=1e-3)


def test_masks_move_with_their_images() -> None:
    """An image that equals its mask must still equal it after flip, rotation and crop."""
    train = LUNGS.train.replace(augment=Augment(flip=True, rotation=20.0, crop=0.8, brightness=0.3))
    run = _Run(LUNGS.replace(train=train), data.load(LUNGS.data), source=None, resources=resources())
    truth = (torch.arange(32) < 16).expand(6, 1, 32, 32).contiguous()
    moved = run.moved(truth.to(torch.uint8), step=3)
    step = _drawn(run, 3)
    picture = augment(truth.float(), train.augment, step)
    assert ((picture > 0.35) == moved).float().mean() > 0.97
    assert 0.1 < moved.float().mean() < 0.9
    assert not torch.equal(moved, truth)


def _drawn(run: _Run, step: int) -> torch.Generator:
    from transfusion_lib.training.train import _mix

    return torch.Generator().manual_seed(_mix(run.spec.seed, step))


def test_a_run_learns_is_found_again_and_gives_its_network(store: Store) -> None:
    [run] = runs.ensure([LUNGS], store=store)
    assert set(run.cases) == {"test_scores", "val_scores", "test_units", "losses"}
    assert run.cases["test_scores"].shape == (12, 1, 2)
    kept = float(run.cases["test_scores"][:, :, 0].mean())  # in 16 bits
    assert run.final["test_dice"] == pytest.approx(kept, abs=1e-4)
    best = max(range(3), key=lambda k: run.curve["val_dice"][k])
    assert run.record["selected_step"] == run.curve["step"][best]
    lines: list[str] = []
    runs.ensure([LUNGS], store=store, say=lines.append)
    assert "from the store" in lines[0]
    again = run.network()
    assert isinstance(again, UNet)
    assert again(torch.zeros(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_records_hold_no_image_and_pictures_need_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of others must not end up in results/: a record has the predicted masks, and nothing of the data."""
    cut = LUNGS.replace(model=LUNGS.model.replace(truncate=Truncate(at="pool2")))
    made = runs.ensure([cut, LUNGS], store=store)
    kept = tables.predictions(made[1], made[0], count=3)
    assert {name: tuple(mask.shape) for name, mask in kept.items()} == {"whole": (3, 32, 32), "cut": (3, 32, 32)}
    assert all(set(mask.unique().tolist()) <= {0, 1} for mask in kept.values())
    shown = tables.pictures(made, "pool2", count=3)
    assert list(shown) == ["truth", "whole U-Net", "cut after pool2"]
    split = data.load(LUNGS.data).test
    for number, picture in enumerate(shown["truth"]):
        assert np.array_equal(picture.pixels, split.images[number, 0].numpy())
        assert picture.outline is not None
        assert np.array_equal(picture.outline, split.labels[number, 0].numpy() > 0)

    def gone(_: DataSpec) -> None:
        raise DataError("not here")

    monkeypatch.setattr(data, "load", gone)
    alone = tables.pictures(made, "pool2", count=3)
    assert list(alone) == ["whole U-Net", "cut after pool2"]
    for picture in (picture for row in alone.values() for picture in row):
        assert picture.outline is not None
        assert np.array_equal(picture.pixels > 0, picture.outline)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": ModelSpec(name="cbr_tiny")}, "needs a U-Net"),
        ({"data": DataSpec(name="fundus", size=32, train=24, val=8, test=12)}, "needs a classifier"),
    ],
)
def test_networks_and_tasks_that_do_not_fit(change: dict[str, object], says: str, store: Store) -> None:
    with pytest.raises(SpecError, match=says):
        runs.ensure([LUNGS.replace(**change)], store=store)


@pytest.mark.parametrize(("name", "task", "least"), [("synthetic_chest", "lungs", 0.1), ("fundus", "lesions", 0.0005)])
def test_synthetic_masks_are_labels(name: str, task: str, least: float) -> None:
    whole = data.load(DataSpec(name=name, size=32, train=20, val=4, test=4))
    dataset = data.load(DataSpec(name=name, size=32, train=20, val=4, test=4, task=task))
    assert dataset.kind == "segmentation"
    assert dataset.classes == (task,)
    assert dataset.synthetic
    assert torch.equal(dataset.train.images, whole.train.images)
    assert dataset.train.labels.shape == (20, 1, 32, 32)
    assert least < dataset.train.labels.float().mean() < 0.8
    assert dataset.fingerprint != whole.fingerprint


def ham(root: Path, *, masked: bool) -> DataSpec:
    rows = ["lesion_id,image_id,dx"]
    files: dict[str, bytes | str] = {}
    for k in range(20):
        rows.append(f"HAM_{k:04d},ISIC_{k:04d},{'mel' if k % 2 else 'nv'}")
        files[f"ISIC_{k:04d}.jpg"] = encoded(gradient(k), "JPEG")
        if masked:
            mask = np.zeros((24, 24), np.uint8)
            mask[6:18, 4 : 5 + k] = 255
            files[f"ISIC_{k:04d}_segmentation.png"] = encoded(mask)
    write_files(root, files | {"HAM10000_metadata.csv": "\n".join(rows)})
    return DataSpec(name="ham10000", task="lesion", size=24, root=str(root))


def test_lesions_of_ham10000(tmp_path: Path, store: Store) -> None:
    spec = ham(tmp_path / "ham", masked=True)
    dataset = data.load(spec)
    assert (dataset.kind, dataset.classes) == ("segmentation", ("lesion",))
    assert dataset.train.labels.dtype == torch.uint8
    areas = {name: int(mask.sum()) for name, mask in zip(dataset.train.ids, dataset.train.labels, strict=True)}
    assert all(area == 12 * min(1 + int(name[-4:]), 20) for name, area in areas.items())
    assert data.datasheet(dataset).counts["train"] == (len(dataset.train),)
    assert data.show("ham10000", root=spec.root, task="lesion").images["train"] == len(dataset.train)
    with pytest.raises(DataError, match=r"needs the lesion masks.*HAM10000_segmentations"):
        data.load(ham(tmp_path / "bare", masked=False))


def test_the_finding_names_the_cut_that_loses_for_certain() -> None:
    """A good cut is no news of the others: a figure whose lowest row is clearly below the whole network says so."""
    scores = {"block2": [0.80, 0.81, 0.80], "block4": [0.90, 0.91, 0.90], tables.WHOLE: [0.90, 0.90, 0.91]}
    found = pd.DataFrame([{"cut": cut, "dice": dice} for cut, some in scores.items() for dice in some])
    table = pd.DataFrame(
        [{"cut": cut, "parameters (M)": 1.0, "test Dice": float(np.mean(some))} for cut, some in scores.items()]
    )
    said = tables.finding(table, found, "block4")
    assert said.startswith("Cut after block4: ")
    assert "; after block2 \N{MINUS SIGN}0.100" in said
    assert "; after" not in tables.finding(table[1:], found, "block4")
