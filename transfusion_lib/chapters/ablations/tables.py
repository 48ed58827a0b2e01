"""What the chapter "Ablations" says: pooling, architectures, sources, and evidence for R8 to R10."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from transfusion_lib import data, networks
from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.curve_tables import NETWORKS
from transfusion_lib.chapters.kit.cuts import Arm
from transfusion_lib.runs import Run
from transfusion_lib.runs.search import Found
from transfusion_lib.spec import RunSpec
from transfusion_lib.stats.words import extreme, share, told

SOURCES = {"random": "no source", "natural": "natural images", "medical": "medical images"}


def pooling(found: Mapping[str, Found]) -> pd.DataFrame:
    """Return a row per head and cut point: head, cut, validation (AUPRC), auroc, low, high, parameters, chosen."""
    rows = []
    for head, one in found.items():
        for candidate in one:
            mean = scores.mean(candidate.runs, "test_auroc")
            rows.append(
                {
                    "head": head,
                    "cut": candidate.cut,
                    "validation": candidate.score,
                    "auroc": mean.estimate,
                    "low": mean.low,
                    "high": mean.high,
                    "parameters": _costs(candidate.runs[0]).parameters,
                    "chosen": candidate.cut == one.chosen.cut,
                }
            )
    return pd.DataFrame(rows)


def pooling_finding(found: Mapping[str, Found]) -> str:
    """Return the finding: where validation chose with each head, and the difference of their AUROCs."""
    pooled, plain = (found[head].chosen for head in ("pooled", "not pooled"))
    gap = told(scores.between(pooled.runs, plain.runs), signed=True)
    return f"test AUROC, pooled at {pooled.cut} minus not pooled at {plain.cut}, {gap}"


def architectures(arms: Mapping[str, tuple[Arm, Arm]]) -> pd.DataFrame:
    """Return a row per network and method: network, arm, cut, auroc, low, high, auprc, parameters, macs."""
    rows = []
    for network, pair in arms.items():
        for arm in pair:
            auroc, auprc = (scores.mean(arm.runs, f"test_{score}") for score in ("auroc", "auprc"))
            cost = _costs(arm.runs[0])
            row: dict[str, Any] = {"network": NETWORKS[network], "arm": arm.name, "cut": arm.cut or ""}
            row |= {"auroc": auroc.estimate, "low": auroc.low, "high": auroc.high, "auprc": auprc.estimate}
            rows.append(row | {"parameters": cost.parameters, "macs": cost.macs})
    return pd.DataFrame(rows)


def architectures_finding(arms: Mapping[str, tuple[Arm, Arm]]) -> str:
    """Return the finding: what truncation changes in each network."""
    words = []
    for network, (full, cut) in arms.items():
        kept = _costs(cut.runs[0]).parameters / _costs(full.runs[0]).parameters
        gap = told(scores.between(cut.runs, full.runs), signed=True)
        words.append(f"{NETWORKS[network]} {gap} at {share(kept)} of its parameters")
    return f"change of test AUROC: {'; '.join(words)}"


def by_source(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Return a row per source and seed, and evaluation: source, seed, step, auroc."""
    rows = [
        {"source": SOURCES[source], "seed": run.spec.seed, "step": step, "auroc": auroc}
        for source, group in runs.items()
        for run in group
        for step, auroc in zip(run.curve["step"], run.on_the_way, strict=True)
    ]
    return pd.DataFrame(rows)


def by_source_finding(runs: Mapping[str, Sequence[Run]]) -> str:
    """Return the finding: the final AUROC from each source, and which is highest, if one is."""
    means = {SOURCES[name]: scores.mean(group, "test_auroc") for name, group in runs.items()}
    best = extreme(means)
    said = f"{best} highest" if best else "none clearly highest"
    return f"final AUROC, {said}: " + ", ".join(f"{name} {told(one)}" for name, one in means.items())


def source_words(spec: RunSpec) -> str:
    """Return what the medical source is, in a sentence's part."""
    count = f"{spec.data.train:,} images" if spec.data.train else "all images"
    start = "random weights" if spec.init.method == "random" else "pretrained weights"
    return f"{count} of {data.called(spec.data.name)}, {spec.train.steps:,} steps from {start}"


def _costs(run: Run) -> networks.Description:
    return networks.describe(run.spec.model, num_outputs=len(run.record["dataset"]["classes"]), size=run.spec.data.size)
