"""What the chapter "Mean Var" says of its curves."""

import pandas as pd


def convergence_titles(steps: pd.DataFrame) -> dict[str, str]:
    """Return each panel's finding: the order of arrival at the threshold, or that there is nothing to order."""
    return {network: f"{network}: {_arrival(steps, network)}" for network in dict.fromkeys(steps["network"])}


def convergence_finding(steps: pd.DataFrame) -> str:
    """Return the finding of every network in a sentence each."""
    return " ".join(f"{title}." for title in convergence_titles(steps).values())


def convergence_alt(steps: pd.DataFrame, *, threshold: float) -> str:
    """Return what the figure shows, for who cannot see it."""
    return f"Test AUROC over training steps, threshold {threshold:g}. {convergence_finding(steps)}"


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
