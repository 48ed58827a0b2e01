"""What the chapter "Mean Var" says of its curves, and what it hands to the judge (claims T11, T12)."""

import pandas as pd

from transfusion_lib.claims import Evidence
from transfusion_lib.claims.table import GOOD_PART
from transfusion_lib.tables.arrivals import BASE, FULL, Arm, Arms
from transfusion_lib.tables.curves import LARGE
from transfusion_lib.tables.evidence import contrast, evidence, scaled, speed_up, total

MEAN_VAR = "Mean Var"
STARTS = (BASE, MEAN_VAR, FULL)


def plain(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the paper's three starts, the controls left out."""
    return curves[curves["init"].isin(STARTS)]


def speed_evidence(arms: Arms, curves: pd.DataFrame) -> Evidence | None:
    """Return what T11 asks for: the speed-up of each large network; None where none has both starts."""
    used = _large(arms, (BASE, FULL))
    if not used:
        return None
    gains = {network: contrast(found, speed_up(FULL)) for network, found in used.items()}
    return evidence({"speed_up": gains}, curves, used)


def statistics_evidence(arms: Arms, curves: pd.DataFrame) -> Evidence | None:
    """Return what T12 asks for: that speed-up, and Mean Var's less a good part of it."""
    used = _large(arms, STARTS)
    if not used:
        return None
    good_part = total(speed_up(MEAN_VAR), scaled(speed_up(FULL), -GOOD_PART))
    return evidence(
        {
            "speed_up": {network: contrast(found, speed_up(FULL)) for network, found in used.items()},
            "good_part": {network: contrast(found, good_part) for network, found in used.items()},
        },
        curves,
        used,
    )


def _large(arms: Arms, starts: tuple[str, ...]) -> dict[str, dict[str, Arm]]:
    return {
        network: {start: found[start] for start in starts}
        for network, found in arms.items()
        if network in LARGE and all(start in found for start in starts)
    }


def convergence_titles(steps: pd.DataFrame) -> dict[str, str]:
    """Return each panel's finding: the order of arrival at the threshold, or that there is nothing to order."""
    return {network: f"{network}: {_arrival(steps, network)}" for network in dict.fromkeys(steps["network"])}


def convergence_finding(steps: pd.DataFrame) -> str:
    """Return the finding of every network in a sentence each."""
    return " ".join(f"{title}." for title in convergence_titles(steps).values())


def convergence_alt(steps: pd.DataFrame, *, threshold: float) -> str:
    """Return what the figure shows, for who cannot see it."""
    return f"Test AUROC over training steps, threshold {threshold:g}. {convergence_finding(steps)}"


def controls_title(arms: Arms) -> str:
    """Return what the controls show: which start keeps the statistics and comes closest to full transfer on the way."""
    best = {
        network: max((start for start in found if start not in (BASE, FULL)), key=lambda start: _way(found[start]))
        for network, found in arms.items()
        if FULL in found and BASE in found and len(found) > 2
    }
    if not best:
        return "No network has pretrained weights whose statistics could be kept"
    said = [f"{start} comes closest to pretrained in {network}" for network, start in best.items()]
    return "Of the starts without features, " + ", ".join(said)


def _way(arm: Arm) -> float:

    return sum(arm.ways) / len(arm.ways)


def _arrival(steps: pd.DataFrame, network: str) -> str:
    """Return the order of arrival at the threshold by mean step, those apart of whose seeds none arrived."""
    rows = steps[steps["network"] == network]
    if len(rows) == 1:
        return f"{rows['init'].iloc[0]} weights only, no others to compare"
    never = rows["reached"].str.startswith("0 ")
    groups = [" and ".join(part["init"]) for _, part in rows[~never].groupby("mean step")]
    if not groups:
        return "no start arrives in time"
    if len(groups) == 1 and not never.any():
        return "no start is faster"
    first = " first, then ".join([groups[0], ", then ".join(groups[1:])]) if groups[1:] else f"{groups[0]} first"
    return f"{first}; {' and '.join(rows[never]['init'])} not in time" if never.any() else first
