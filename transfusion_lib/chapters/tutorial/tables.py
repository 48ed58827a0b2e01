"""What the tutorial says of its runs."""

import pandas as pd

from transfusion_lib import stats


def gain(curves: pd.DataFrame) -> str:
    """Return a sentence: by how much the last start ended higher than the first, with its interval where it has one.

    ``curves`` are those of ``curve_tables``.
    """
    last = curves[curves["step"] == curves["step"].max()]
    finals = {str(start): rows["auroc"].tolist() for start, rows in last.groupby("init", sort=False)}
    first, *_, other = [*finals, *finals]
    if len(finals) == 1:
        network = curves["network"].iloc[0]
        return f"Only {first} was run, since {network} has no pretrained weights here: there is nothing to compare."
    what = f"{other} minus {first} after {last['step'].iloc[0]} steps"
    if len(finals[first]) == 1:
        return f"{what}: {finals[other][0] - finals[first][0]:.3f}. One seed has no interval: try seeds = [0, 1, 2]."
    return f"{what}: {stats.difference(finals[other], finals[first])}"
