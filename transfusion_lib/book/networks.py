"""The tables of the page "The networks", from the table of networks itself."""

import json

from transfusion_lib import networks
from transfusion_lib.book.execute import Build
from transfusion_lib.markup import markdown
from transfusion_lib.networks import Architecture, Description
from transfusion_lib.spec import ModelSpec, Slim, Truncate

WEIGHTS = {"imagenet": "ImageNet, published", "tiny_imagenet_100": "Tiny-ImageNet-100, ours"}
# TruncatedTL's ways to use a ResNet-50 at 224 px: parameters in millions, multiply-adds in billions, as it prints them.
VARIANTS = (
    ("FTL, LWFT: the whole network", None, None, "23.5", "4.12"),
    ("TF-1: half the channels above block3", Slim(above="block3"), None, "12.9", "3.56"),
    ("TTL-1: cut after block3", None, Truncate(at="block3"), "8.55", "3.31"),
    ("TTL-2: cut after the fourth unit of block3", None, Truncate(at="block3.4"), "6.31", "2.87"),
)
TOP_5 = {"cbr_large_t": "77.5 %", "cbr_large_w": "75.1 %", "cbr_small": "67.6 %", "cbr_tiny": "73.5 %"}
"""On ImageNet, Table 1 of Transfusion."""


def write(build: Build) -> None:
    """Write what ``networks.md`` includes: sizes beside the papers', cut points, weights that ship and their scores."""
    rows = [(row, networks.describe(ModelSpec(name=row.name))) for row in networks.TABLE.values()]
    head: tuple[str, ...] = (
        "network",
        "parameters",
        "by the paper's rule",
        "Table 1",
        "multiply-adds",
        "smallest image",
        "weights",
    )
    _write(build, "sizes", markdown(head, (_size(row, found) for row, found in rows)))
    head = ("variant", "parameters (M)", "paper", "multiply-adds (G)", "paper")
    _write(build, "variants", markdown(head, (_variant(*variant) for variant in VARIANTS)))
    _write(build, "cuts", "\n".join(f"{found.name}\n: {', '.join(found.cut_points)}\n" for _, found in rows))
    head = ("network", "top-1", "top-5", "paper's top-5", "steps", "made again by")
    _write(build, "weights", markdown(head, (_weights(row) for row, _ in rows if row.record.is_file())))


def _size(row: Architecture, found: Description) -> tuple[str, ...]:
    counts = (f"{found.parameters:,}", f"{found.paper_parameters:,}", f"{row.table_1:,}" if row.table_1 else "")
    weights = ", ".join(WEIGHTS[name] for name in found.weights) or "none"
    return (found.name, *counts, f"{found.macs / 1e9:.2f} G", f"{found.minimum_size} px", weights)


def _variant(name: str, slim: Slim | None, truncate: Truncate | None, parameters: str, macs: str) -> tuple[str, ...]:
    found = networks.describe(ModelSpec(name="resnet50", slim=slim, truncate=truncate), num_outputs=2)
    return (name, f"{found.parameters / 1e6:.2f}", parameters, f"{found.macs / 1e9:.2f}", macs)


def _weights(row: Architecture) -> tuple[str, ...]:
    record = json.loads(row.record.read_text(encoding="utf-8"))
    train = record["spec"]["train"]
    scores = (f"{record['top_1']:.1%}", f"{record['top_5']:.1%}", TOP_5.get(row.name, ""))
    return (row.name, *scores, f"{train['steps']:,} of {train['batch_size']}", f"`{record['command']}`")


def _write(build: Build, name: str, text: str) -> None:
    (build.source / f"networks-{name}.md").write_text(text + "\n", encoding="utf-8")
