"""What networks cost to use, and how good they were at their source task, beside their scores."""

import json
import math
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from transfusion_lib import networks as models
from transfusion_lib.analysis import costs
from transfusion_lib.chapters.kit.curve_tables import NETWORKS
from transfusion_lib.chapters.performance.tables import TRANSFER, full_size
from transfusion_lib.papers import transfusion as paper
from transfusion_lib.runs import Run, load
from transfusion_lib.runs.analyses import stored
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats import over_seeds, spearman
from transfusion_lib.stats.words import told


def cost_table(runs: Sequence[Run], rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per network: what one image costs, and the score of its best start with all images.

    Columns: network, parameters, parameters as in Table 1, million multiply-adds, latency ms (median), latency low and
    high (quartiles over repetitions), start, AUROC with its 95 % interval over seeds.
    """
    first = {run.spec.model.name: run for run in reversed(runs)}
    found = _measured(list(first.values()))["networks"]
    scores = full_size(rows).groupby(["network", "init"], sort=False)["auroc"]
    means = scores.mean()
    table = []
    for name in first:
        network, one = NETWORKS[name], found[name]
        best = means[network].idxmax()
        values = scores.get_group((network, best))
        spread = over_seeds(values) if len(values) > 1 else None
        quartiles = np.percentile(one["latency_ms"], [25, 50, 75])
        table.append(
            {
                "network": network,
                "parameters": one["parameters"],
                "parameters as in Table 1": one["paper_parameters"],
                "million multiply-adds": one["macs"] / 1e6,
                "latency in ms": float(quartiles[1]),
                "latency in ms, lower quartile": float(quartiles[0]),
                "latency in ms, upper quartile": float(quartiles[2]),
                "start": best,
                "AUROC": float(means[network][best]),
                "AUROC low": spread.low if spread else math.nan,
                "AUROC high": min(spread.high, 1.0) if spread else math.nan,
            }
        )
    return pd.DataFrame(table).iloc[::-1].reset_index(drop=True)


@stored("tables.costs._measured", version=1)
def _measured(runs: list[Run]) -> dict[str, Any]:
    """Return the costs of one image in the network of each run, latency on the machine at hand, and that machine."""
    specs = {run.spec.model.name: run.spec.model for run in runs}
    size, outputs = runs[0].spec.data.size, len(runs[0].record["dataset"]["classes"])
    found = costs.measure(specs, num_outputs=outputs, size=size, batches=(1,))
    networks = {
        name: {
            "parameters": one.parameters,
            "paper_parameters": models.describe(specs[name], num_outputs=outputs, size=size).paper_parameters,
            "macs": one.macs,
            "latency_ms": list(one.latency_ms[1]),
        }
        for name, one in found.items()
    }
    return {"networks": networks, "machine": platform.processor() or platform.machine()}


def paper_scores() -> pd.DataFrame:
    """Return the paper's networks: network, AUROC with transfer (Table 1)."""
    rows = [(name, row.transfer.mean / 100) for name, row in paper.TABLE_1.items()]
    return pd.DataFrame(rows, columns=["network", "AUROC"])


def cost_title(table: pd.DataFrame) -> str:
    """Return which network is fastest and which scores highest, each only where its bar is apart from all others."""
    fast = _ahead(table, "latency in ms, lower quartile", "latency in ms, upper quartile")
    best = _ahead(table.assign(low=-table["AUROC high"], high=-table["AUROC low"]), "low", "high")
    said = [f"{fast} is fastest"] if fast else []
    said += [f"{best} scores highest"] if best else []
    return f"Score, size and time. {'; '.join(said)}" if said else "Score, size and time"


def _ahead(table: pd.DataFrame, low: str, high: str) -> str | None:
    """Return the network whose bar ends below the begin of every other bar, or None."""
    first, *others = table.sort_values(high, na_position="last").to_dict("records")
    apart = others and all(first[high] < other[low] for other in others)
    return str(first["network"]) if apart else None


def source_title(table: pd.DataFrame) -> str:
    """Return how accuracy and score rank together over the networks of one source task, or that these are too few."""
    ours = table[~table["from"].str.contains("Table 1")].dropna(subset=["source top-5 share", "AUROC"])
    most = int(ours["source task"].value_counts().max()) if len(ours) else 0
    if most < 2:
        return "No two of our networks share a source task: nothing to rank"
    shared = ours[ours["source task"] == ours["source task"].value_counts().idxmax()]
    if most < 4 or shared["source top-5 share"].nunique() < 2 or shared["AUROC"].nunique() < 2:
        return f"{most} of our networks share a source task: too few to rank"
    one = told(spearman(shared["source top-5 share"], shared["AUROC"]), signed=True)
    return f"Over {most} networks of one source, rank correlation {one}"


def source_accuracy(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per network with a pretrained start: source task, its top-5 accuracy in per cent, where from.

    ImageNet's are the publishers'; those of a run of our own are computed from its test cases, those of shipped
    weights are recorded beside them.
    """
    rows = []
    for run in {run.spec.model.name: run for run in runs if run.spec.init.method == TRANSFER}.values():
        network = NETWORKS[run.spec.model.name]
        match run.spec.init.weights:
            case RunSpec() as spec:
                rows.append((network, spec.data.name, _source_top5(run)["top5"], "our run, its test images"))
            case "imagenet":
                rows.append((network, "imagenet", paper.PUBLISHED_TOP5.get(network), "the weights' publisher"))
            case name:
                rows.append((network, str(name), _shipped_top5(run.spec.model.name), "recorded with our weights"))
    frame = pd.DataFrame(rows, columns=["network", "source task", "top5", "from"])
    return frame.assign(top5=frame["top5"].astype(float))


def _shipped_top5(network: str) -> float:
    """Return the top-5 accuracy in per cent of weights that ship with this package."""
    record = models.architecture(network).shipped.with_suffix(".json")
    return 100 * float(json.loads(record.read_text())["top_5"])


@stored("tables.costs._source_top5", version=1)
def _source_top5(run: Run) -> dict[str, Any]:
    """Return the top-5 accuracy in per cent, on its own test cases, of the run whose weights ``run`` starts from."""
    spec = run.spec.init.weights
    assert isinstance(spec, RunSpec)
    cases = load(spec, store=Store(run.entry.folder.parents[1])).cases
    likeliest = cases["test_scores"].topk(5, dim=1).indices
    return {"top5": 100 * float((likeliest == cases["test_labels"][:, None]).any(1).float().mean())}


def source_table(source: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return source accuracy beside the score of the pretrained start with all images, ours and the paper's.

    Columns: network, source task, source top-5 share, AUROC, from.
    """
    rows = full_size(rows)
    means = rows[rows["init"] == TRANSFER].groupby("network")["auroc"].mean().rename("AUROC")
    ours = source.join(means, on="network").rename(columns={"top5": "source top-5 share"})
    theirs = pd.DataFrame(
        [(name, row.imagenet_top5, row.transfer.mean / 100) for name, row in paper.TABLE_1.items()],
        columns=["network", "source top-5 share", "AUROC"],
    ).assign(**{"source task": "imagenet", "from": f"{paper.SOURCE}, Table 1"})
    frame = pd.concat([ours, theirs], ignore_index=True)
    frame["source top-5 share"] /= 100
    return frame[["network", "source task", "source top-5 share", "AUROC", "from"]]
