"""What the chapter "Hybrids" says of its curves, and what it hands to the judge (claims T14, T15)."""

import pandas as pd

from transfusion_lib.chapters.kit.arrivals import BASE, FULL, Arm, Arms
from transfusion_lib.chapters.kit.evidence import UNKNOWN, contrast, evidence, scaled, speed_up, total
from transfusion_lib.papers import transfusion as paper
from transfusion_lib.papers.pilot import Evidence
from transfusion_lib.papers.pilot.table import MATCH
from transfusion_lib.stats import Interval, combine, over_seeds

SLIM, GABOR = "Slim", "Gabor conv1"


def slim_evidence(arms: Arms, curves: pd.DataFrame, *, network: str) -> Evidence | None:
    """Return what T14 asks for: how much later and lower than full transfer Slim arrives."""
    found = arms.get(network, {})
    if not {BASE, SLIM, FULL} <= set(found):
        return None
    later = total(speed_up(FULL, SLIM), scaled(speed_up(FULL), -MATCH))
    return evidence(
        {
            "speed_up": {network: contrast(found, speed_up(FULL))},
            "speed": {network: contrast(found, later)},
            "performance": {network: final_difference(found[SLIM], found[FULL])},
        },
        curves,
        {network: {start: found[start] for start in (BASE, SLIM, FULL)}},
        settled=(SLIM, FULL),
    )


def gabor_evidence(arms: Arms, curves: pd.DataFrame, *, network: str) -> Evidence | None:
    """Return what T15 asks for: how much later than with a pretrained first stage a network with Gabors arrives."""
    found = arms.get(network, {})
    first = first_stage(arms, network)
    if first is None or not {BASE, GABOR} <= set(found):
        return None
    later = total(speed_up(first, GABOR), scaled(speed_up(first), -MATCH))
    return evidence(
        {
            "speed_up": {network: contrast(found, speed_up(first))},
            "speed": {network: contrast(found, later)},
        },
        curves,
        {network: {start: found[start] for start in (BASE, GABOR, first)}},
    )


def first_stage(arms: Arms, network: str) -> str | None:
    """Return the start of a network that has its first stage pretrained, if it is there."""
    plain = (BASE, GABOR, SLIM, FULL)
    return next((start for start in arms.get(network, {}) if start not in plain), None)


def final_difference(a: Arm, b: Arm) -> Interval:
    """Return the AUROC at the last step of one arm minus that of another; unknown with a single run in one."""
    if min(len(a.finals), len(b.finals)) < 2:
        return UNKNOWN
    return combine([over_seeds(a.finals), over_seeds(b.finals)], [1, -1])


def paper_figure_8(arms: Arms) -> dict[str, dict[str, float]]:
    """Return, for each network, the paper's steps as fractions of its random start's: of CBR-LargeW for a CBR."""
    found = {}
    for network in arms:
        rows = paper.FIGURE_8["CBR-LargeW" if network.startswith("CBR") else "ResNet-50"]
        names = {"conv1": first_stage(arms, network) or "conv1"}
        found[network] = {names.get(start, start): steps / rows[BASE] for start, steps in rows.items()}
    return found
