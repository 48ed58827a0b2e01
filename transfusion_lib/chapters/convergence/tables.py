"""What the chapter "Mean Var" says of its curves."""

import pandas as pd

from transfusion_lib.chapters.kit.arrivals import BASE, FULL, Arms, arrival_order
from transfusion_lib.stats import combine, over_seeds
from transfusion_lib.stats.words import extreme, told

MEAN_VAR = "Mean Var"
STARTS = (BASE, MEAN_VAR, FULL)


def plain(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the paper's three starts, the controls left out."""
    return curves[curves["init"].isin(STARTS)]


def convergence_titles(arms: Arms) -> dict[str, str]:
    """Return each panel's finding: the order of arrival at the threshold, as far as there is one."""
    return {network: f"{network}: {arrival_order(found)}" for network, found in arms.items()}


def convergence_finding(arms: Arms) -> str:
    """Return the finding of every network in a sentence each."""
    return " ".join(f"{title}." for title in convergence_titles(arms).values())


def convergence_alt(arms: Arms, *, threshold: float) -> str:
    """Return what the figure shows, for readers who cannot see it."""
    return f"Validation AUROC over training steps, threshold {threshold:g}. {convergence_finding(arms)}"


def controls_title(arms: Arms) -> str:
    """Return which start without features has the highest mean AUROC on the way, where one is apart from the others.

    Where there is one such start, return what it gains over the random one.
    """
    said = []
    for network, found in arms.items():
        ways = {start: over_seeds(arm.ways) for start, arm in found.items() if len(arm.ways) > 1}
        kept = {start: way for start, way in ways.items() if start not in (BASE, FULL)}
        if len(kept) > 1:
            best = extreme(kept)
            said += [f"{network}: {best} is highest on the way" if best else f"{network}: none is clearly highest"]
        elif kept and BASE in ways:
            start, way = next(iter(kept.items()))
            gained = told(combine([way, ways[BASE]], [1, -1]), signed=True)
            said.append(f"{network}: {start} minus random on the way {gained}")
    return "Starts without features" + (f". {'; '.join(said)}" if said else "")
