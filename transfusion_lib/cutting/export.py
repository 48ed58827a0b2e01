"""A trained network as files for other programs: torch.export and ONNX, checked against the network itself."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_lib.errors import MissingExtraError, TransfusionError
from transfusion_lib.networks import Network, first_convolution
from transfusion_lib.training.metrics import Kind, probabilities

TOLERANCE = 1e-5
"""Largest difference of a probability that an exported file may show."""
BATCHES = (1, 5, 64)
"""Numbers of images at once for which it is shown."""
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The files of one network and how far they are from it."""

    onnx: Path
    torch: Path
    differences: dict[str, float]
    """Largest difference of a probability on the checked images, by file name."""


class Deployed(nn.Module):
    """A network with what surrounds it in use: images with values in 0..1 come in, probabilities go out."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, *, kind: Kind) -> None:
        super().__init__()
        self.network = network
        self.kind: Kind = kind
        shape = (-1, *(1,) * (first_convolution(network).weight.ndim - 2))
        self.register_buffer("mean", torch.tensor(network.mean).reshape(shape))
        self.register_buffer("std", torch.tensor(network.std).reshape(shape))

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities (n, classes) of float32 images (n, channels, height, width) in 0..1."""
        return probabilities(self.network((images - self.mean) / self.std), kind=self.kind)


def need_packages(*names: str) -> None:
    """Raise a ``MissingExtraError`` with the install line unless ``names``, or what writes ONNX, can be imported."""
    missing = [name for name in names or PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"exported networks need {', '.join(missing)}; install with: pip install 'transfusion-reproduced[export]'"
        )


def export(network: Network, images: Tensor, *, kind: Kind, folder: Path, name: str = "model") -> Exported:
    """Write ``name``.pt2 (torch.export) and ``name``.onnx into ``folder``, for any number of images at once.

    Both are read back and must give the network's own probabilities on ``images``, float32 in 0..1 (n, channels,
    height, width), repeated to each of ``BATCHES`` at once, within ``TOLERANCE``; else a ``TransfusionError``. Needs
    the extra "export".
    """
    need_packages()
    deployed = Deployed(network, kind=kind).cpu().eval()
    folder.mkdir(parents=True, exist_ok=True)
    files = {"torch": folder / f"{name}.pt2", "onnx": folder / f"{name}.onnx"}
    batch = {"images": {0: torch.export.Dim("batch", min=1)}}
    with torch.no_grad():
        program = torch.export.export(deployed, (torch.cat([images, images])[:2],), dynamic_shapes=batch)
        torch.export.save(program, files["torch"])
        onnx = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=["images"], output_names=["probabilities"]
        )
        assert onnx is not None
        onnx.save(files["onnx"], external_data=False)
        differences = {
            files["torch"].name: _difference(deployed, _torch_program(files["torch"]), images),
            files["onnx"].name: _difference(deployed, _onnx_session(files["onnx"]), images),
        }
    for file, difference in differences.items():
        if not difference < TOLERANCE:
            raise TransfusionError(
                f"{folder / file} gives probabilities up to {difference:.1e} from those of the network, more than "
                f"{TOLERANCE:.0e}: do not use it; report the versions of torch and {', '.join(PACKAGES)}"
            )
    return Exported(onnx=files["onnx"], torch=files["torch"], differences=differences)


def _difference(deployed: Deployed, program: Any, images: Tensor) -> float:
    repeated = images.repeat(-(-max(BATCHES) // len(images)), *(1,) * (images.ndim - 1))
    pairs = [(deployed(part), program(part)) for part in (repeated[:batch] for batch in BATCHES)]
    return max(float((mine - other).abs().max()) for mine, other in pairs)


def _torch_program(path: Path) -> Any:
    return torch.export.load(path).module()


def _onnx_session(path: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
