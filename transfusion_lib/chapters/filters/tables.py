"""The frames, pictures and evidence of the chapter "What do the filters keep?"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler
from torch import Tensor

from transfusion_lib.analysis import gabor, movement, visualise
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.chapters.kit.stage_tables import by_network, described
from transfusion_lib.runs import Run
from transfusion_lib.stats import over_seeds
from transfusion_lib.stats.words import extreme, listed, share


@dataclass(frozen=True, kw_only=True)
class Filters:
    """conv1 of one run, for a picture: filters (n, channels, height, width)."""

    network: str
    init: str
    before: Tensor
    after: Tensor


@dataclass(frozen=True, kw_only=True)
class Favourites:
    """What excites a few channels of each stage of one run: uint8 (stages, channels, colours, height, width)."""

    network: str
    init: str
    stages: tuple[str, ...]
    channels: tuple[tuple[int, ...], ...]
    images: Tensor


def first_filters(runs: Sequence[Run], *, count: int) -> list[Filters]:
    """Return the first ``count`` filters of the first run of each network and start."""
    found = []
    for run in _first_of_each(runs):
        about, tensors = described(run), movement.first_filters(run)
        before, after = (tensors[name][:count] for name in ("before", "after"))
        found.append(Filters(network=str(about["network"]), init=str(about["init"]), before=before, after=after))
    return found


def favourites(runs: Sequence[Run], *, channels: int, steps: int) -> list[Favourites]:
    """Return what excites the stages of the first run of each network and start."""
    found = []
    for run in _first_of_each(runs):
        about, result = described(run), visualise.favourites(run, channels=channels, steps=steps)
        found.append(
            Favourites(
                network=str(about["network"]),
                init=str(about["init"]),
                stages=tuple(result["stages"]),
                channels=tuple(map(tuple, result["channels"])),
                images=result["images"],
            )
        )
    return found


def favourites_frame(favourites: Sequence[Favourites]) -> pd.DataFrame:
    """Return which channels are shown, a row per picture."""
    rows = [
        {"network": one.network, "init": one.init, "stage": stage, "channel": channel}
        for one in favourites
        for stage, channels in zip(one.stages, one.channels, strict=True)
        for channel in channels
    ]
    return pd.DataFrame(rows)


def filter_movement(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per filter of conv1: how far it moved, relative to its first norm."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        tensors = movement.first_filters(run)
        moved = movement.by_filter(tensors["before"], tensors["after"]).tolist()
        rows += [{**described(run), "filter": place, "moved": value} for place, value in enumerate(moved)]
    return pd.DataFrame(rows)


def gabor_scores(runs: Sequence[Run], *, null_filters: int) -> pd.DataFrame:
    """Return one row per filter of conv1, before and after training, and per random filter: its Gabor score.

    ``when`` is "before", "after" or "null"; ``threshold`` is the score that a Gabor exceeds, ``kernel`` its edge.
    """
    rows: list[dict[str, Any]] = []
    for network, group in by_network(runs).items():
        found = gabor.gabors(group, null_filters=null_filters)
        kernel = int(movement.first_filters(group[0])["before"].shape[-1])
        same = {"network": network, "threshold": found["threshold"], "kernel": kernel}
        for place, run in enumerate(group):
            for when in ("before", "after"):
                rows += [{**same, **described(run), "when": when, "score": v} for v in found[when][place].tolist()]
        rows += [{**same, "init": "random", "seed": -1, "when": "null", "score": v} for v in found["null"].tolist()]
    frame = pd.DataFrame(rows)
    frame["is_gabor"] = frame["score"] > frame["threshold"]
    return frame


def gabor_shares(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the share of Gabors per network, start and seed, before and after training."""
    real = scores[scores["when"] != "null"]
    wide = real.pivot_table(
        index=["network", "kernel", "threshold", "init", "seed"], columns="when", values="is_gabor", sort=False
    )
    return wide.reset_index()[["network", "kernel", "threshold", "init", "seed", "before", "after"]]


def gabor_table(shares: pd.DataFrame) -> Styler:
    """Return the shares of Gabors as a table for a page: per network and start, means over seeds."""
    keys = ["network", "kernel", "threshold", "init"]
    means = shares.groupby(keys, sort=False)[["before", "after"]].mean().reset_index()
    names = {"threshold": "95 % of random filters below", "before": "Gabors before", "after": "Gabors after"}
    formats = {"95 % of random filters below": "{:.3f}", "Gabors before": "{:.1%}", "Gabors after": "{:.1%}"}
    return page_table(means.rename(columns=names), formats)


def median_movement(movement: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Return the median movement of a filter for each network and start."""
    return {
        (str(network), str(init)): float(part["moved"].median())
        for (network, init), part in movement.groupby(["network", "init"], sort=False)
    }


def movement_title(movement: pd.DataFrame) -> str:
    """Return the finding on movement: whose filters move least and most, by the median of each run, as far as clear."""
    runs = movement.groupby(["network", "init", "seed"], sort=False)["moved"].median()
    by_start: dict[str, list[float]] = {}
    for (network, init, _), value in zip(runs.index.tolist(), runs.tolist(), strict=True):
        by_start.setdefault(f"{network} {init}", []).append(float(value))
    medians = {name: over_seeds(values) for name, values in by_start.items() if len(values) > 1}
    said = [f"{word} in {name}" for word, name in (("least", extreme(medians, highest=False)),
                                                   ("most", extreme(medians))) if name]  # fmt: skip
    return f"Relative to its norm, conv1 moves {listed(said)}" if said else "How far the filters of conv1 move"


def gabor_titles(scores: pd.DataFrame) -> dict[str, str]:
    """Return each network's finding on Gabors, or that its kernel is too small to tell."""
    titles = {}
    for network, part in scores.groupby("network", sort=False):
        kernel, threshold = int(part["kernel"].iloc[0]), float(part["threshold"].iloc[0])
        if threshold > 0.9:
            words = f"filters of {kernel} x {kernel} pixels are too small to tell, since Gabors fit random ones too"
            titles[str(network)] = f"{network}: {words}"
            continue
        shares = part[part["when"] != "null"].groupby(["init", "when"], sort=False)["is_gabor"].mean()
        inits = list(dict.fromkeys(part["init"]))
        said = [
            f"{init} {share(shares[init, 'before'])} before, {share(shares[init, 'after'])} after" for init in inits
        ]
        titles[str(network)] = f"{network}, share of Gabors: {listed(said)}"
    return titles


def _first_of_each(runs: Sequence[Run]) -> list[Run]:
    """Return the first run of each network and start."""
    found: dict[tuple[str, str], Run] = {}
    for run in runs:
        found.setdefault((run.spec.model.name, run.spec.init.method), run)
    return list(found.values())


def _keys(runs: Sequence[Run]) -> tuple[str, ...]:
    return tuple(run.key for run in runs)
