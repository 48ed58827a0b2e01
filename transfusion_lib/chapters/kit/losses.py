"""The training loss as the measure of speed: its curve, its mean over the run, and what a start gains over random."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.arrivals import BASE, FULL
from transfusion_lib.chapters.kit.curve_tables import panels_of, start_of
from transfusion_lib.errors import MeasureError
from transfusion_lib.runs import Run
from transfusion_lib.stats import share_of_gain
from transfusion_lib.stats.words import direction, listed, share, told

WINDOW = 10
"""Steps over which a curve is averaged: the loss of a single batch says little."""
MANY = 4
COLUMNS = ("network", "init", "gain", "low", "high", "share", "share_low", "share_high", "runs")


def mean_losses(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run: network (its panel), init, seed, and the mean training loss over all steps."""
    rows = [
        {"network": panel, "init": start_of(run.spec), "seed": run.spec.seed, "loss": float(_losses(run).mean())}
        for run, panel in zip(runs, panels_of(runs), strict=True)
    ]
    return pd.DataFrame(rows)


def loss_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Return, for each network and init, the training loss averaged over runs and windows of steps.

    Columns: network, init, step (a window's last), loss.
    """
    rows = []
    for run, panel in zip(runs, panels_of(runs), strict=True):
        losses = _losses(run)
        for last in range(min(WINDOW, len(losses)), len(losses) + 1, WINDOW):
            window = losses[max(0, last - WINDOW) : last]
            rows.append({"network": panel, "init": start_of(run.spec), "step": last, "loss": float(window.mean())})
    return pd.DataFrame(rows).groupby(["network", "init", "step"], sort=False)["loss"].mean().reset_index()


def gains(losses: pd.DataFrame) -> pd.DataFrame:
    """Return by how much each start lowers the mean training loss of the random one, run by run of the same seed.

    ``losses`` are those of ``mean_losses``. Columns: network, init, gain, low, high (95 % over runs), share, share_low,
    share_high (of the gain of full transfer, Fieller's interval; missing for full transfer itself), runs. A start that
    has no seed in common with the random one has no row.
    """
    rows = []
    for network, part in losses.groupby("network", sort=False):
        arms = {str(init): one.set_index("seed")["loss"] for init, one in part.groupby("init", sort=False)}
        for init, mine in arms.items():
            lower = (arms[BASE] - mine).dropna().tolist() if BASE in arms and init != BASE else []
            if not lower:  # no seed has both
                continue
            gain = scores.over(lower)
            row = {"network": network, "init": init, "gain": gain.estimate, "low": gain.low, "high": gain.high}
            rows.append(row | _share(arms, init) | {"runs": gain.n})
    return pd.DataFrame(rows, columns=COLUMNS)


def gain_titles(gains: pd.DataFrame) -> dict[str, str]:
    """Return which starts learn clearly faster than random weights, by network."""
    titles = {}
    for network, part in gains.groupby("network", sort=False):
        signs = [direction(low, high) for low, high in zip(part["low"], part["high"], strict=True)]
        faster = [str(init) for init, sign in zip(part["init"], signs, strict=True) if sign > 0]
        slower = [str(init) for init, sign in zip(part["init"], signs, strict=True) if sign < 0]
        same = len(part) - len(faster) - len(slower)
        if not faster and not slower:
            said = "no start differs clearly from random"
        elif len(faster) == len(part) > 1:
            said = "every start is faster than random"
        else:
            words = [f"{listed(names)} {'is' if len(names) == 1 else 'are'} {how}"
                     for names, how in ((faster, "faster"), (slower, "slower")) if names]  # fmt: skip
            said = f"{'; '.join(words)} than random{', the rest not clearly' if same else ''}"
        titles[str(network)] = f"{network}: {said}"
    return titles


def gain_finding(gains: pd.DataFrame) -> str:
    """Return in a sentence each what full transfer gains, and which share of it the best other start gives."""
    said = []
    for network, part in gains.groupby("network", sort=False):
        full = part[part["init"] == FULL]
        if full.empty:
            continue
        row = full.iloc[0]
        sign = direction(row.low, row.high)
        if sign == 0:
            change = told((row.gain, row.low, row.high), signed=True)
            said.append(f"{network}: what pretrained weights take off the mean training loss is not clear, {change}.")
            continue
        size = (row.gain, row.low, row.high) if sign > 0 else (-row.gain, -row.high, -row.low)
        text = (
            f"{network}: pretrained weights {'lower' if sign > 0 else 'raise'} the mean training loss by {told(size)}"
        )
        others = part[(part["init"] != FULL) & (sign > 0)].dropna(subset=["share"])
        others = others[np.isfinite(others["share_low"]) & np.isfinite(others["share_high"])]
        shares = [f"{one['init']} gives {_part(one)}" for one in others.to_dict("records")]
        if shares and len(shares) <= MANY:
            text += f"; of that gain {listed(shares)}"
        said.append(f"{text}.")
    return " ".join(said) or "Without a random and a pretrained start there is no gain to measure."


def gain_table(gains: pd.DataFrame) -> pd.DataFrame:
    """Return ``gains`` for a page: an estimate and its interval in a cell."""
    rows = gains.to_dict("records")
    return pd.DataFrame(
        {
            "network": gains["network"],
            "start": gains["init"],
            "loss below random": [told((row["gain"], row["low"], row["high"]), signed=True) for row in rows],
            "share of full transfer's gain": ["" if np.isnan(row["share"]) else _part(row) for row in rows],
            "runs": gains["runs"],
        }
    )


def _part(row: Mapping[Any, Any]) -> str:
    """Return a share and its interval, or that it is not known where the whole may be nothing."""
    if not np.isfinite([row["share_low"], row["share_high"]]).all():
        return "not known: full transfer's gain is open"
    return f"{share(row['share'])} ({share(row['share_low'])} to {share(row['share_high'])})"


def _share(arms: Mapping[str, "pd.Series[float]"], init: str) -> dict[str, float]:
    names, missing = ("share", "share_low", "share_high"), (np.nan,) * 3
    groups = [arms.get(name) for name in (BASE, init, FULL)]
    if init == FULL or any(group is None or len(group) < 2 for group in groups):
        return dict(zip(names, missing, strict=True))
    try:
        found = share_of_gain(*groups)  # type: ignore[arg-type]  # none is missing
    except MeasureError:  # there is no gain to share
        return dict(zip(names, missing, strict=True))
    whole = scores.over((arms[BASE] - arms[FULL]).dropna().tolist() or [np.nan])
    ends = (found.low, found.high) if direction(whole.low, whole.high) else (-np.inf, np.inf)  # a share of what?
    return dict(zip(names, (found.estimate, *ends), strict=True))


def _losses(run: Run) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return run.cases["losses"].double().numpy()
