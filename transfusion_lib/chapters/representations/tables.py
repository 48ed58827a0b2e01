"""The frames and evidence of the chapter "Do representations differ?"."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from transfusion_lib.analysis import comparisons, movement
from transfusion_lib.chapters.kit.stage_tables import (
    by_network,
    described,
    over_stages,
)
from transfusion_lib.runs import Run
from transfusion_lib.stats import Interval, difference, over_pairs, over_seeds, r_squared, ratio, spearman
from transfusion_lib.stats.words import direction, extreme, listed, told

LOWEST = 2
"""The claims speak of the lowest two stages, and of the highest two."""
MEASURES = {"cca": "CCA", "cka": "CKA"}


def similarities(runs: Sequence[Run], *, images: int | None, per_image: int, per_channel: int) -> pd.DataFrame:
    """Return one row per pair of networks and stage: who, when, CCA and CKA with their floors, and above them.

    ``moment`` is "before_after" (a run's start and its end), "start" or "end" (two runs). ``kind`` names the start,
    or both. ``cca_above`` and ``cka_above`` are (s - floor) / (1 - floor): 0 by chance, 1 for the same.
    """
    rows = []
    for network, group in by_network(runs).items():
        found = comparisons.compare(group, images=images, per_image=per_image, per_channel=per_channel)["rows"]
        stages = list(dict.fromkeys(row["stage"] for row in found))
        for row in found:
            first, second = (described(group[row[name]]) for name in ("first", "second"))
            starts = [str(first["init"]), str(second["init"])]
            own = row["moment"] == "before_after"
            rows.append(
                {
                    "network": network,
                    "moment": row["moment"],
                    "kind": starts[0] if own else ", ".join(sorted(starts, reverse=True)),
                    "first": f"{first['init']} {first['seed']}",
                    "second": f"{second['init']} {second['seed']}",
                    "depth": stages.index(row["stage"]) / max(1, len(stages) - 1),
                    **{name: value for name, value in row.items() if name not in {"moment", "first", "second"}},
                }
            )
    frame = pd.DataFrame(rows)
    for name in MEASURES:
        frame[f"{name}_above"] = (frame[name] - frame[f"{name}_floor"]) / (1 - frame[f"{name}_floor"])
    return frame


def before_after(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return what a run's start shares with its end, one row per run and stage, with columns init and seed."""
    own = similarities[similarities["moment"] == "before_after"]
    seeds = own["first"].str.rsplit(" ", n=1).str[-1].astype(int)
    return own.assign(init=own["kind"], seed=seeds).drop(columns=["moment", "kind", "first", "second"])


def per_layer(own: pd.DataFrame) -> pd.DataFrame:
    """Return Figure 3: mean and interval of CCA and CKA per network, start and stage, with the mean floor."""
    parts = []
    for name, label in MEASURES.items():
        means = over_stages(own, name)
        floors = over_stages(own, f"{name}_floor").rename(columns={"mean": "floor"})
        parts.append(means.assign(measure=label, floor=floors["floor"]))
    return pd.concat(parts, ignore_index=True)


def higher(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return Figure 2: one row per pair of trained networks, CCA and its floor averaged over the highest two stages."""
    return _levels(similarities[similarities["moment"] == "end"]).query("level == 'higher'").reset_index(drop=True)


def start_end(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return Figure 4: per pair of networks, the CCA at the start and after training, of conv1 and the higher stages.

    Only (random, random) and (random, pretrained): two pretrained starts are the same network.
    """
    pairs = similarities[similarities["kind"].isin(["random, random", "random, pretrained"])]
    keys = ["network", "kind", "first", "second", "level"]
    start, end = (_levels(pairs[pairs["moment"] == moment]).set_index(keys) for moment in ("start", "end"))
    joined = start[["cca", "cca_floor"]].join(end[["cca", "cca_floor"]], lsuffix="_start", rsuffix="_end")
    return joined.reset_index()


def predicted(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return R^2 of CCA at the start with CCA after training per network, kind of pair and stage, and Figure 4's two.

    ``interval`` is infinitely wide where the pairs are of fewer than 4 networks.
    """
    pairs = similarities[similarities["kind"].isin(["random, random", "random, pretrained"])]
    keys = ["network", "kind", "first", "second"]
    rows = []
    for (network, kind, stage), part in pairs.groupby(["network", "kind", "stage"], sort=False):
        start, end = (part[part["moment"] == moment].set_index(keys)["cca"] for moment in ("start", "end"))
        points = pd.DataFrame({"start": start, "end": end}).reset_index()
        rows.append({"network": network, "kind": kind, "stage": stage, **_relation(points, "start", "end")})
    for (network, kind, level), points in start_end(similarities).groupby(["network", "kind", "level"], sort=False):
        rows.append({"network": network, "kind": kind, "stage": level, **_relation(points, "cca_start", "cca_end")})
    return pd.DataFrame(rows, columns=["network", "kind", "stage", "interval", "r_squared", "pairs", "networks"])


def travelled(runs: Sequence[Run]) -> pd.DataFrame:
    """Return how far each stage's filters went from their start: per run, kept step and stage, absolute and relative.

    ``moved`` is the L2 distance divided by the L2 norm at the start.
    """
    rows = [
        {**described(run), **row, "moved": row["distance"] / row["start"]}
        for run in runs
        for row in movement.travelled(run)["rows"]
    ]
    return pd.DataFrame(rows)


def travelled_means(travelled: pd.DataFrame) -> pd.DataFrame:
    """Return mean and interval of the last step's relative distance per network, start and stage."""
    return over_stages(travelled[travelled["step"] == travelled["step"].max()], "moved")


def agreement(own: pd.DataFrame) -> str:
    """Return how alike CCA and CKA rank a network's stages by what they keep of their start."""
    sentences = []
    for network, part in own.groupby("network", sort=False):
        means = part.groupby(["init", "stage"], sort=False)[["cca_above", "cka_above"]].mean()
        if len(means) < 4 or (means.nunique() < 2).any():
            sentences.append(f"{network}: too few stages to rank")
            continue
        sentences.append(f"{network} {told(spearman(means['cca_above'], means['cka_above']), signed=True)}")
    return (
        f"Rank correlation over stages and starts of what CCA and CKA find above their floors: {'; '.join(sentences)}."
    )


def few_pairs(similarities: pd.DataFrame) -> str:
    """Return how many pairs of each kind there are, in words."""
    ends = similarities[similarities["moment"] == "end"]
    rows = []
    for network, part in ends.groupby("network", sort=False):
        counts = part.drop_duplicates(["first", "second"])["kind"].value_counts()
        rows.append(f"{network} has {listed([f'{counts[kind]} ({kind})' for kind in counts.index])} pairs")
    return f"{'; '.join(rows)}." if rows else "There is one run of each network, so there are no pairs."


def few_channels(similarities: pd.DataFrame) -> str:
    """Return which stages are compared on some of their channels only, in words."""
    some = similarities[similarities["channels"] < similarities["of"]].drop_duplicates(["network", "stage"])
    if some.empty:
        return "Every stage is compared on all of its channels."
    said = [f"{row.stage} of {row.network} ({row.channels} of {row.of})" for row in some.itertuples()]
    return f"Stages with too many channels for that are compared on some, drawn at random: {listed(said)}."


def floor_words(own: pd.DataFrame) -> str:
    """Return how high the floors are beside what independent samples would give, in words."""
    row = own.iloc[int((own["cca_floor"] - own["expected"]).to_numpy().argmax())]
    if row["cca_floor"] <= row["expected"]:
        return "No floor is above what independent samples of the same number would give."
    return (
        f"Floors can be above what independent samples of the same number would give: {row['stage']} of "
        f"{row['network']} has {row['cca_floor']:.2f}, where that is {row['expected']:.2f}. A floor from a formula "
        "alone would have let this pass for similarity."
    )


def higher_gaps(higher: pd.DataFrame) -> str:
    """Return each network's (random, pretrained) minus (random, random) with its interval, in words."""
    said = []
    for network, part in higher.groupby("network", sort=False):
        gap = _gap(part)
        said.append(f"{network} {'has too few pairs' if gap is None else told(gap, signed=True)}")
    words = "CCA of (random, pretrained) minus (random, random), 95 % interval over networks"
    return f"{words}: {'; '.join(said)}." if said else "One network of each kind is no pair."


def higher_titles(higher: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding in Figure 2."""
    titles = {}
    for network, part in higher.groupby("network", sort=False):
        gap = _gap(part)
        if gap is None:
            titles[str(network)] = f"{network}: one kind of pair, or too few pairs to compare"
            continue
        word = ("not told apart from", "more alike than", "less alike than")[direction(gap.low, gap.high)]
        titles[str(network)] = f"{network}: by CCA (random, pretrained) {word} (random, random)"
    return titles


def per_layer_titles(own: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding in Figure 3: where pretrained weights stay closer to their start than random."""
    titles = {}
    for network, part in own.groupby("network", sort=False):
        stages = list(dict.fromkeys(part["stage"]))
        gaps = _gaps(part)
        if not gaps:
            titles[str(network)] = f"{network}: {_kept_most(part)}"
            continue
        signs = [direction(gap.low, gap.high) for gap in gaps.values()]
        said = f"more of their start than random ones in {signs.count(1)} of {len(stages)} stages"
        said += f", less in {signs.count(-1)}" if -1 in signs else ""
        titles[str(network)] = f"{network}: pretrained weights keep clearly {said} (CCA above the floors)"
    return titles


def _kept_most(own: pd.DataFrame) -> str:
    """Return which stage of one network keeps most of its start and which least, where one is apart from the others."""
    groups = own.groupby(["init", "stage"], sort=False)["cca_above"]
    if own["init"].nunique() > 1 or groups.size().min() < 2:
        return "what each stage keeps of its start"
    kept = {str(stage): over_seeds(values) for (_, stage), values in groups}
    most, least = extreme(kept), extreme(kept, highest=False)
    said = [f"{most} keeps most of its start"] if most else []
    said += [f"{least} keeps least"] if least else []
    return ", ".join(said) or "no stage stands apart in what it keeps of its start"


def start_end_title(predicted: pd.DataFrame) -> str:
    """Return Figure 4's finding: whether similarity at the start tells that after training."""
    shown = predicted[predicted["stage"].isin(["lowest", "higher"])]
    measured = [interval for interval in shown["interval"].tolist() if math.isfinite(interval.se)]
    strong = [interval for interval in measured if interval.low > 0.5]
    if not measured:
        return "Too few pairs to say whether similarity at the start predicts similarity after training"
    few = len(shown) - len(measured)
    text = f"R² of similarity at the start with that after training: in {len(strong)} of {len(measured)} panels clearly"
    return f"{text} above 0.5" + (f"; {few} have too few pairs" if few else "")


def travelled_titles(travelled: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding: how many times as far its highest stage went as its lowest, by start."""
    last = travelled[(travelled["step"] == travelled["step"].max()) & (travelled["stage"] != "head")]
    titles = {}
    for network, part in last.groupby("network", sort=False):
        stages = list(dict.fromkeys(part["stage"]))
        said = []
        for init, rows in part.groupby("init", sort=False):
            top, bottom = (rows.loc[rows["stage"] == stage, "moved"].tolist() for stage in (stages[-1], stages[0]))
            if min(len(top), len(bottom)) > 1 and min(np.mean(top), np.mean(bottom)) > 0:
                said.append(f"{told(ratio(over_seeds(top), over_seeds(bottom)))} ({init})")
        times = f"{stages[-1]} moves, in times of {stages[0]}, {listed(said)}" if said else "how far each stage moves"
        titles[str(network)] = f"{network}: {times}"
    return titles


def _levels(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per pair for the lowest stage and one for the mean of the highest two, in the column level."""
    rows = []
    keys = ["network", "kind", "first", "second"]
    for names, part in pairs.groupby(keys, sort=False):
        ordered = part.sort_values("depth")
        for level, stages in (("lowest", ordered[:1]), ("higher", ordered[-LOWEST:])):
            means = stages[["cca", "cca_floor", "cka", "cka_floor"]].mean()
            rows.append({**dict(zip(keys, names, strict=True)), "level": level, **means})
    return pd.DataFrame(rows, columns=[*keys, "level", "cca", "cca_floor", "cka", "cka_floor"])


def _gap(higher: pd.DataFrame) -> Interval | None:
    """Return one network's (random, pretrained) minus (random, random), None where the pairs are too few."""
    parts = [higher[higher["kind"] == kind] for kind in ("random, pretrained", "random, random")]
    names = sorted({name for part in parts for column in ("first", "second") for name in part[column]})
    kinds = {name: name.rsplit(" ", 1)[0] for name in names}
    counts = pd.Series(kinds.values(), dtype=str).value_counts()
    if min(counts.get("random", 0), 3) < 3 or counts.get("pretrained", 0) < 2:
        return None
    pairs = [list(zip(part["first"], part["second"], strict=True)) for part in parts]
    return over_pairs([part["cca"] for part in parts], [1.0, -1.0], pairs=pairs, kinds=kinds)


def _gaps(own: pd.DataFrame) -> dict[str, Interval]:
    """Return one network's pretrained minus random similarity to the start, above chance, for each stage."""
    found = {}
    for stage, part in own.groupby("stage", sort=False):
        values = {init: rows["cca_above"].tolist() for init, rows in part.groupby("init")}
        if {"random", "pretrained"} <= set(values) and min(len(values[i]) for i in ("random", "pretrained")) > 1:
            found[str(stage)] = difference(values["pretrained"], values["random"])
    return found


def _relation(points: pd.DataFrame, x: str, y: str) -> dict[str, object]:
    """Return R^2 of two columns with its interval over networks, and how many pairs and networks there are."""
    pairs = list(zip(points["first"], points["second"], strict=True))
    networks = {name for pair in pairs for name in pair}
    varies = points[x].nunique() > 1 and points[y].nunique() > 1
    left = [points[(points["first"] != name) & (points["second"] != name)] for name in networks]
    enough = all(len(rest) > 2 and rest[x].nunique() > 1 and rest[y].nunique() > 1 for rest in left)
    if len(networks) >= 4 and enough:
        interval = r_squared(points[x], points[y], pairs=pairs)
    else:
        r = float(np.corrcoef(points[x], points[y])[0, 1]) if len(points) > 2 and varies else math.nan
        interval = Interval(
            estimate=r**2,
            low=0,
            high=1,
            what_varies="network",
            n=len(networks),
            se=math.inf,
            scale="squared correlation",
        )
    return {"interval": interval, "r_squared": interval.estimate, "pairs": len(points), "networks": len(networks)}


def _keys(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.key for run in runs)
