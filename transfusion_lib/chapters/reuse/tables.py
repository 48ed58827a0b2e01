"""The frames of the chapter "Where does feature reuse happen?"."""

import math
from collections.abc import Sequence
from itertools import combinations

import pandas as pd
from pandas.io.formats.style import Styler

from transfusion_lib.analysis import barriers, probes, robustness
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.chapters.kit.stage_tables import described, over_stages
from transfusion_lib.runs import Run
from transfusion_lib.stats import over_seeds
from transfusion_lib.stats.words import extreme, listed, number, told

PROBES = {"linear": "linear probe", "knn": "k nearest neighbours"}
RESETS = {"initial": "set back to its start", "fresh": "drawn anew"}


def probe_scores(runs: Sequence[Run], *, train: int, test: int, neighbours: int) -> pd.DataFrame:
    """Return one row per run, stage, kind of probe and moment (before, after): the probe's test AUROC."""
    rows = [
        {**described(run), "stage": row["stage"], "when": row["when"], "probe": label, "auroc": row[name]}
        for run in runs
        for row in probes.probe(run, train=train, test=test, neighbours=neighbours)["rows"]
        for name, label in PROBES.items()
    ]
    return pd.DataFrame(rows).astype({"auroc": float})


def probe_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean and interval after training per network, start, probe and stage; ``floor`` is the mean before."""
    keys = ["network", "init", "probe", "stage"]
    after = over_stages(scores[scores["when"] == "after"], "auroc", keys=keys)
    before = over_stages(scores[scores["when"] == "before"], "auroc", keys=keys)
    return after.assign(floor=before["mean"])


def set_back(runs: Sequence[Run], *, cases: int) -> pd.DataFrame:
    """Return one row per run, stage and way of resetting it: the test AUROC and what was lost of the intact one's."""
    rows = []
    for run in runs:
        found = robustness.stages_set_back(run, cases=cases)
        intact = _number(found["intact"])
        for row in found["rows"]:
            for name, label in RESETS.items():
                auroc = _number(row[name])
                rows.append(
                    {**described(run), "stage": row["stage"], "reset": label, "auroc": auroc, "lost": intact - auroc}
                )
    return pd.DataFrame(rows)


def shuffled(runs: Sequence[Run], *, blocks: Sequence[int], cases: int) -> pd.DataFrame:
    """Return one row per run and edge of the shuffled blocks: the test AUROC; the whole image comes first."""
    rows = [
        {**described(run), **row}
        for run in runs
        for row in robustness.blocks_shuffled(run, blocks=list(blocks), cases=cases)["rows"]
    ]
    return pd.DataFrame(rows).astype({"auroc": float})


def paths(runs: Sequence[Run], *, points: int, cases: int) -> pd.DataFrame:
    """Return one row per pair of runs of one network and start, and point between them: test loss and AUROC."""
    rows = []
    for first, second in combinations(runs, 2):
        one, two = described(first), described(second)
        if (one["network"], one["init"]) != (two["network"], two["init"]):
            continue
        found = barriers.path(first, second, points=points, cases=cases)
        about = {"network": one["network"], "init": one["init"], "pair": f"{one['seed']}, {two['seed']}"}
        rows += [{**about, **row, "apart": found["apart"]} for row in found["rows"]]
    columns = ["network", "init", "pair", "at", "loss", "auroc", "apart"]
    return pd.DataFrame(rows, columns=columns).astype({"auroc": float})


def barrier_table(paths: pd.DataFrame) -> Styler:
    """Return one row per network and start: the barrier in loss and in AUROC, and how far apart the ends are.

    Means over pairs, and the largest; three seeds give three pairs, which share their networks.
    """
    rows = []
    for (network, init), part in paths.groupby(["network", "init"], sort=False):
        pairs = [rows for _, rows in part.groupby("pair", sort=False)]
        losses = [barriers.barrier(rows["loss"].tolist()) for rows in pairs]
        drops = [barriers.barrier((-rows["auroc"]).tolist()) for rows in pairs if rows["auroc"].notna().all()]
        rows.append(
            {
                "network": network,
                "init": init,
                "pairs": len(pairs),
                "barrier in loss": f"{sum(losses) / len(losses):.3f}",
                "largest": f"{max(losses):.3f}",
                "loss of AUROC": f"{sum(drops) / len(drops):.3f}" if drops else "",
                "L2 between ends / norm": f"{part['apart'].mean():.2f}",
            }
        )
    return page_table(pd.DataFrame(rows))


def set_back_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean and interval of what is lost per network, start, way of resetting and stage."""
    return over_stages(frame, "lost", keys=["network", "init", "reset", "stage"])


def shuffled_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return mean and interval of the test AUROC per network, start and edge of the blocks."""
    return over_stages(frame, "auroc", keys=["network", "init", "block"])


def probe_titles(scores: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding on probes: the stage whose features say most by start, where it is apart."""
    titles = {}
    linear = scores[(scores["probe"] == PROBES["linear"]) & (scores["when"] == "after")].dropna(subset=["auroc"])
    for network, part in linear.groupby("network", sort=False):
        said = []
        for init, rows in part.groupby("init", sort=False):
            values = {str(stage): one.tolist() for stage, one in rows.groupby("stage", sort=False)["auroc"]}
            best = extreme({stage: over_seeds(some) for stage, some in values.items() if len(some) > 1})
            said += [f"{best} ({init})"] if best else []
        which = f"linear probes read most from {listed(said)}" if said else "no stage is clearly best for linear probes"
        titles[str(network)] = f"{network}: {which}"
    return titles


def set_back_titles(frame: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding: in how many stages going back to the start clearly costs."""
    titles = {}
    for network, part in frame[frame["reset"] == RESETS["initial"]].groupby("network", sort=False):
        said = []
        for init, rows in part.groupby("init", sort=False):
            stages = list(dict.fromkeys(rows["stage"]))
            if rows["seed"].nunique() > 1:
                lost = [stage for stage in stages if _clearly_lost(rows[rows["stage"] == stage]["lost"])]
                said.append(f"{len(lost)} of {len(stages)} stages ({init})")
        titles[str(network)] = f"{network}: a clear loss for {listed(said)}" if said else f"{network}: one seed each"
    return titles


def barrier_titles(paths: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding on the line between two runs: the mean barrier in loss by start."""
    titles = {}
    for network, part in paths.groupby("network", sort=False):
        said = []
        for init, rows in part.groupby("init", sort=False):
            losses = [barriers.barrier(pair["loss"].tolist()) for _, pair in rows.groupby("pair", sort=False)]
            said.append(f"{number(sum(losses) / len(losses), places=2)} between {init} starts")
        titles[str(network)] = f"{network}: mean barrier in loss {listed(said)}"
    return titles


def shuffled_titles(means: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding: what the smallest blocks leave of the AUROC, by start."""
    titles = {}
    for network, part in means.groupby("network", sort=False):
        smallest = part["block"].min()
        said = [
            f"{told(rows.loc[rows['block'] == smallest, ['mean', 'low', 'high']].iloc[0].tolist())}, {init}"
            for init, rows in part.groupby("init", sort=False)
        ]
        titles[str(network)] = f"{network}: blocks of {smallest} pixels leave AUROC {'; '.join(said)}"
    return titles


def _clearly_lost(values: pd.Series) -> bool:
    """Return whether the loss is above 0 with its whole interval over seeds; one seed cannot say."""
    known = values.dropna().tolist()
    return len(known) > 1 and over_seeds(known).low > 0


def _number(value: float | None) -> float:
    return math.nan if value is None else value
