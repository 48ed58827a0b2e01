"""Intervals over draws of the split: runs whose training and test images overlap are not independent."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transfusion_lib.errors import MeasureError
from transfusion_lib.stats.cases import placements
from transfusion_lib.stats.interval import Interval, Varies, interval, satterthwaite, vector
from transfusion_lib.stats.seeds import over_seeds


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What one run said of each of its test cases."""

    scores: NDArray[np.float64]
    """(n,) score of the positive class, or with ``labels`` None a value of each case, its Dice for example."""
    labels: NDArray[np.int64] | None
    """(n,) 0 or 1 for AUROC; None for the mean of the scores."""
    units: Sequence[Hashable]
    """(n,) what may be resampled as a whole: the patient or the lesion of each image."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The variance of a mean over draws, in two parts that say what would make it smaller."""

    interval: Interval
    of_runs: float
    """Variance that falls with the number of runs."""
    of_images: float
    """Variance that more runs do not reduce: the images that all draws share."""


def over_draws(values: ArrayLike, *, shared: float, of_draw: float = 1.0, level: float = 0.95) -> Spread:
    """Return the mean of one value per draw of the split, with the corrected resampled variance.

    Nadeau and Bengio (2003): two draws from one pool share images, so their scores are correlated and s^2 / n is too
    small, however many draws one makes. With ``shared`` = rho, the share of test images that two draws have in common
    on average (n_test / (n_train + n_test) in their paper), the variance of the mean is
    s^2 (1 / n + of_draw * rho / (1 - rho)). Their correction has ``of_draw`` = 1: all of s^2 comes from the draw. The
    seed's part is independent of the split; where several trainings of one draw tell the two apart, ``of_draw`` is
    the draw's share of s^2.

    ``shared`` 0 means fresh images in each draw (synthetic data). ``shared`` 1, an official split, leaves no spread
    from which its test images could be judged: a ``MeasureError`` asks for the test cases.
    """
    if not 0 <= shared < 1:
        raise MeasureError(
            f"two draws share between none and not quite all of their test images, got {shared:g}: where all runs have "
            "the same test images (an official split) give their test cases"
        )
    if not 0 <= of_draw <= 1:
        raise MeasureError(f"the draw's share of the variance lies in 0 to 1, got {of_draw:g}")
    plain = over_seeds(values, level=level)
    of_runs = plain.se**2
    of_images = plain.n * of_runs * of_draw * shared / (1 - shared)
    return _spread(plain, of_runs, of_images, plain.df, "draw of the split and seed" if shared else "seed", level)


def over_draws_and_cases(
    values: ArrayLike, tested: Sequence[Sequence[Scored]], weights: Sequence[float], *, level: float = 0.95
) -> Spread:
    """Return the mean of one contrast per draw, with the variance over runs and that over clustered test cases.

    ``tested`` holds for each arm its runs, whose average the contrast weighs by ``weights``; ``values`` (n,) are the
    contrasts of the draws. The variance over test cases is that of a bootstrap of whole units (patients, lesions)
    from the pool of all draws, to first order: each image's influence on the contrast, summed over the draws that
    tested it and over its unit, squared (Obuchowski 1997 for clustered AUROC; the infinitesimal jackknife). It counts
    images that several draws share as often as they are shared, so no assumption on the overlap is needed.

    Both variances are added: runs vary by their seed and draw, all of them by their common images. The part of the
    test cases' variance that already shows between draws is counted twice, which widens the interval by at most a few
    per cent.
    """
    plain = over_seeds(values, level=level)
    total: dict[Hashable, float] = {}
    for runs, weight in zip(tested, weights, strict=True):
        for run in runs:
            for unit, influence in zip(run.units, _influences(run), strict=True):
                total[unit] = total.get(unit, 0.0) + weight / len(runs) * float(influence)
    if len(total) < 2:
        raise MeasureError("one unit says nothing of how test cases vary")
    of_images = len(total) / (len(total) - 1) * math.fsum(one**2 for one in total.values())
    df = satterthwaite(np.array([plain.se**2, of_images]), np.array([plain.df, len(total) - 1]))
    return _spread(plain, plain.se**2, of_images, df, "draw of the split, seed and test case", level)


def _influences(run: Scored) -> NDArray[np.float64]:
    """Return by how much each case moves the run's score, to first order; they sum to 0."""
    scores = vector(run.scores, "scores of test cases", least=2)
    if len(run.units) != len(scores):
        raise MeasureError(f"{len(scores)} test cases need as many units, got {len(run.units)}")
    if run.labels is None:
        centred: NDArray[np.float64] = (scores - scores.mean()) / len(scores)
        return centred
    truth = np.asarray(run.labels)
    positive, negative = placements(truth, scores)
    found = np.empty(len(scores))
    found[truth == 1] = (positive - positive.mean()) / len(positive)
    found[truth == 0] = (negative - negative.mean()) / len(negative)
    return found


def _spread(plain: Interval, of_runs: float, of_images: float, df: float, varies: Varies, level: float) -> Spread:
    # Equal values of all runs say nothing of how runs vary, whatever the test cases say.
    se = math.sqrt(of_runs + of_images) if of_runs > 0 else 0.0
    whole = interval(plain.estimate, se, df=df, level=level, n=plain.n, varies=varies)
    return Spread(interval=whole, of_runs=of_runs, of_images=of_images)
