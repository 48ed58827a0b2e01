"""Exported networks against the networks themselves."""

from pathlib import Path

import pytest
import torch

from tests.networks import enliven, network
from transfusion_lib.cutting import export as exporting
from transfusion_lib.cutting.export import export
from transfusion_lib.errors import MissingExtraError, TransfusionError
from transfusion_lib.spec import ModelSpec, Truncate
from transfusion_lib.training.metrics import Kind

SPECS = [
    ModelSpec(name="cbr_tiny", truncate=Truncate(at="pool3")),
    ModelSpec(name="cbr_tiny", truncate=Truncate(at="pool2", pooled=False), in_channels=1),
    pytest.param(ModelSpec(name="efficientnet_lite0", truncate=Truncate(at="block3.1")), marks=pytest.mark.slow),
    pytest.param(ModelSpec(name="resnet50", truncate=Truncate(at="block3.4")), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_exported_files_give_the_networks_probabilities(spec: ModelSpec, kind: Kind, tmp_path: Path) -> None:
    import onnxruntime

    trained = network(spec)
    enliven(trained)
    trained.eval()
    images = torch.rand(5, spec.in_channels, 32, 32, generator=torch.Generator().manual_seed(0))
    done = export(trained, images, kind=kind, folder=tmp_path / "new" / "folder")
    assert max(done.differences.values()) < 1e-5
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (trained.mean, trained.std))
    outputs = trained((images[:3] - mean) / std).detach()
    expected = outputs.softmax(1) if kind == "multiclass" else outputs.sigmoid()
    (answer,) = onnxruntime.InferenceSession(done.onnx).run(None, {"images": images[:3].numpy()})
    assert torch.allclose(torch.from_numpy(answer), expected, atol=1e-4)
    assert torch.allclose(torch.export.load(done.torch).module()(images[:3]), expected, atol=1e-4)


def test_a_file_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = network(ModelSpec(name="cbr_tiny", truncate=Truncate(at="pool1"))).eval()
    right = exporting._onnx_session
    monkeypatch.setattr(exporting, "_onnx_session", lambda path: lambda images: right(path)(images) + 2e-4)
    with pytest.raises(TransfusionError, match=r"model\.onnx gives probabilities up to 2\.0e-04"):
        export(trained, torch.rand(2, 3, 32, 32), kind="multiclass", folder=tmp_path)


def test_without_the_extra_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(MissingExtraError, match=r"no_such_package; install with: pip install .*\[export\]"):
        exporting.need_packages()
