"""Who has not arrived yet: Kaplan-Meier curves of the times to a threshold, those that never arrive included."""

import pandas as pd

from transfusion_lib.chapters.kit.arrivals import Arms


def waiting(found: Arms) -> pd.DataFrame:
    """Return the Kaplan-Meier share of each start's runs that are still below the threshold, from step 0 to the last.

    Columns: network, init, step, share, low, high (95 %, pointwise), reached, runs. A start with a single run has none.
    """
    rows = []
    for network, by_init in found.items():
        for init, arm in by_init.items():
            if arm.times is None:
                continue
            curve = arm.times.curve()
            points = [
                (float(step), *map(float, values)) for step, values in zip(curve.index, curve.values, strict=True)
            ]
            last = (max(arm.times.horizon, points[-1][0]), *points[-1][1:])
            rows += [(network, init, *point, arm.reached, len(arm.steps)) for point in dict.fromkeys([*points, last])]
    return pd.DataFrame(rows, columns=["network", "init", "step", "share", "low", "high", "reached", "runs"])


def waiting_titles(rows: pd.DataFrame) -> dict[str, str]:
    """Return how many runs of each start arrive, by network."""
    titles = {}
    for network, part in rows.groupby("network", sort=False):
        starts = part.drop_duplicates("init")
        said = [f"{one.reached} of {one.runs} {one.init}" for one in starts.itertuples()]
        titles[str(network)] = f"{network}, runs that arrive: {', '.join(said)}"
    return titles
