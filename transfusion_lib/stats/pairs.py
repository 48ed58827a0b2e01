"""Means over pairs of networks, where each network is in several pairs."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.interval import Interval, Vector, interval, satterthwaite, vector

Pairs = Sequence[tuple[Hashable, Hashable]]


def over_pairs(
    groups: Sequence[ArrayLike],
    weights: Sequence[float],
    *,
    pairs: Sequence[Pairs],
    kinds: Mapping[Hashable, Hashable],
    level: float = 0.95,
) -> Interval:
    """Return the weighted sum of the groups' means, each group one value per pair of networks.

    ``pairs`` names each value's two networks, ``kinds`` the kind of each network (its start). Values that share a
    network are not independent: the interval leaves out one network after the other (jackknife within each kind,
    Satterthwaite's degrees of freedom). Every group needs a value that is left whichever network is left out, so at
    least 3 networks for pairs of one kind, 2 of each for pairs of two.
    """
    values = [vector(group, "values over pairs") for group in groups]
    if not len(values) == len(weights) == len(pairs) or [len(v) for v in values] != [len(p) for p in pairs]:
        raise MeasureError("every group needs one weight, and as many pairs as values")

    def estimate(left_out: Hashable | None) -> float:
        total = 0.0
        for group, weight, named in zip(values, weights, pairs, strict=True):
            total += weight * _mean_without(group, named, left_out)
        return total

    networks = list(dict.fromkeys(name for named in pairs for pair in named for name in pair))
    by_kind: dict[Hashable, list[Hashable]] = {}
    for name in networks:
        by_kind.setdefault(kinds[name], []).append(name)
    parts, df = [], []
    for names in by_kind.values():
        count = len(names)
        if count < 2:
            raise MeasureError(f"one network of kind {kinds[names[0]]} says nothing of how such networks vary")
        without = np.array([estimate(name) for name in names])
        parts.append((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
        df.append(count - 1)
    variances: NDArray[np.float64] = np.array(parts)
    n = min(len(names) for names in by_kind.values())
    freedom = satterthwaite(variances, np.array(df))
    return interval(estimate(None), math.sqrt(variances.sum()), df=freedom, level=level, n=n, varies="network")


def _mean_without(group: Vector, named: Pairs, left_out: Hashable | None) -> float:
    rows = [left_out is None or left_out not in pair for pair in named]
    if not any(rows):
        raise MeasureError(f"no pair is left without {left_out}: the mean over pairs needs more networks")
    return float(group[rows].mean())
