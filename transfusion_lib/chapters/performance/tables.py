"""Final scores: Tables 1 to 3, the effect of transfer, and what the chapter hands to the judge (claims T1 to T4)."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from transfusion_lib.chapters.kit.curve_tables import LARGE, NETWORKS, start_of, task_of
from transfusion_lib.errors import MeasureError
from transfusion_lib.papers import transfusion as paper
from transfusion_lib.papers.claims import TASK
from transfusion_lib.runs import Run
from transfusion_lib.stats import Interval, delong, difference, holm, over_seeds
from transfusion_lib.stats.words import listed, number, told

RANDOM, TRANSFER = "random", "pretrained"

CLEAR = 0.05
"""A title calls an effect clear whose corrected p value is below this."""


def finals(runs: Sequence[Run], *, step: int | None = None) -> pd.DataFrame:
    """Return one row per run and task: the AUROC at ``step`` (None: the last) and how far it rose before.

    Columns: network, init, seed, images (for training), step, task, auroc, rise (since the last evaluation within two
    thirds of ``step``), low and high (DeLong's 95 % interval over test cases; missing before the last step, and for a
    score that is a mean over classes), run. A multi-label run has a row per label.
    """
    return pd.DataFrame([row for run in runs for row in _rows(run, step)])


def _rows(run: Run, step: int | None) -> list[dict[str, Any]]:
    data, grid = run.record["dataset"], run.curve["step"]
    last = grid.index(step) if step is not None else len(grid) - 1
    early = max(k for k, value in enumerate(grid) if value <= 2 / 3 * grid[last])
    multilabel = data["kind"] == "multilabel"
    tasks = data["classes"] if multilabel else [task_of(run)]
    rows = []
    for place, task in enumerate(tasks):
        now = run.on_the_way[last]
        if last == len(grid) - 1:
            value = run.final["test_auroc_by_class"][place] if multilabel else run.final["test_auroc"]
            now = math.nan if value is None else float(value)
        cases = _over_cases(run, place if multilabel else None) if last == len(grid) - 1 else None
        low, high = (cases.low, cases.high) if cases else (math.nan, math.nan)
        rows.append(
            {
                "network": NETWORKS[run.spec.model.name],
                "init": start_of(run.spec),
                "seed": run.spec.seed,
                "images": data["cases"]["train"],
                "step": grid[last],
                "task": task,
                "auroc": now,
                "rise": run.on_the_way[last] - run.on_the_way[early],
                "low": low,
                "high": high,
                "run": run.key,
            }
        )
    return rows


def _over_cases(run: Run, label: int | None) -> Interval | None:
    """Return DeLong's interval over test cases of one label, or of the positive classes together, where defined."""
    scores = run.cases["test_scores"].double().numpy()
    labels = run.cases["test_labels"].numpy()
    positive = run.record["dataset"]["positive"]
    if label is not None:
        known = ~np.isnan(labels[:, label])
        truth, chance = labels[known, label], scores[known, label]
    elif positive is not None:
        truth, chance = np.isin(labels, positive), scores[:, positive].sum(1)
    elif scores.shape[1] == 2:
        truth, chance = labels == 1, scores[:, 1]
    else:
        return None
    try:
        return delong(truth, chance)
    except MeasureError:  # a label with one kind of case only
        return None


def full_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the largest training set."""
    largest: pd.DataFrame = rows[rows["images"] == rows["images"].max()]
    return largest


def performance_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return Tables 1 and 2 in the papers' rows: one per network, task and start; theirs beside ours.

    Of networks that only the paper has, the columns of our runs say so; of those that only we have, theirs are blank.
    """
    found, ours = [], "AUROC (95 % over seeds)"
    for (network, task, init), part in rows.groupby(["network", "task", "init"], sort=False):
        one = part.iloc[0]
        spread = over_seeds(part["auroc"]) if len(part) > 1 else None
        found.append(
            {
                "network": network,
                "task": task,
                "start": init,
                ours: told(_bounded(spread)) if spread else f"{number(one['auroc'])}, one seed",
                "paper, RETINA": _paper_1(str(network), str(init)),
                "paper, CheXpert": _paper_2(str(network), str(init), str(task)),
                "SD over seeds": spread.se * math.sqrt(spread.n) if spread else math.nan,
                f"95 % over test cases, seed {one['seed']} (DeLong)": (
                    "" if math.isnan(one["low"]) else f"{one['low']:.3f} to {one['high']:.3f}"
                ),
                "seeds": len(part),
            }
        )
    trained = {row["network"] for row in found}
    for network, start in product(paper.TABLE_1, (RANDOM, TRANSFER)):
        if network not in trained:
            theirs = {"paper, RETINA": _paper_1(network, start)}
            found.append({"network": network, "start": start, ours: "not run here", **theirs})
    table = pd.DataFrame(found)
    table["seeds"] = table["seeds"].astype("Int64")
    empty = [name for name in ("paper, CheXpert",) if not table[name].fillna("").any()]
    texts = table.select_dtypes(object).columns
    return table.assign(**{name: table[name].fillna("") for name in texts}).drop(columns=empty)


def _bounded(one: Interval) -> tuple[float, float, float]:
    """Return the interval of a score, cut off at 1."""
    return one.estimate, one.low, min(one.high, 1.0)


def _paper_1(network: str, start: str) -> str:
    row = paper.TABLE_1.get(network)
    return "" if row is None else _points(row.random if start == RANDOM else row.transfer)


def _paper_2(network: str, start: str, task: str) -> str:
    row = paper.TABLE_2.get((network, "random" if start == RANDOM else "transfer"))
    names = [name.casefold() for name in paper.PATHOLOGIES]
    label = task.replace("_", " ").casefold()
    return _points(row[names.index(label)]) if row and label in names else ""


def _points(value: paper.Measured) -> str:
    """Return a per cent of the paper as an AUROC with its deviation."""
    return f"{value.mean / 100:.4f} ± {(value.deviation or 0) / 100:.4f}"


def effects(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what transfer changes, pretrained minus random, per network, task and size of the training set.

    Columns: network, task, images, effect, low, high (95 % over seeds, Welch), p differs (Holm over all rows of the
    same size), p equivalent (two one-sided tests at the claim's margin, T1), seeds.
    """
    found = []
    for (network, task, images), part in rows.groupby(["network", "task", "images"], sort=False):
        one = effect(part)
        if one is not None:
            known = math.isfinite(one.se) and one.se > 0
            found.append(
                {
                    "network": network,
                    "task": task,
                    "images": images,
                    "effect": one.estimate,
                    "low": one.low,
                    "high": one.high,
                    "p differs": one.p_differs() if known else math.nan,
                    "p equivalent": one.p_equivalent(TASK) if known else math.nan,
                    "seeds": one.n,
                }
            )
    names = ["network", "task", "images", "effect", "low", "high", "p differs", "p equivalent", "seeds"]
    frame = pd.DataFrame(found, columns=names)
    for _, family in frame.groupby("images"):
        tested = family["p differs"].dropna()
        if len(tested):
            frame.loc[tested.index, "p differs"] = holm(tested)
    return frame


def effect(part: pd.DataFrame) -> Interval | None:
    """Return pretrained minus random in ``auroc`` over seeds; one seed has no interval, a missing start gives None."""
    random, transfer = (part.loc[part["init"] == start, "auroc"].to_numpy() for start in (RANDOM, TRANSFER))
    if not len(random) or not len(transfer):
        return None
    if min(len(random), len(transfer)) < 2:
        return Interval(
            estimate=float(transfer.mean() - random.mean()),
            low=math.nan,
            high=math.nan,
            what_varies="seed",
            n=1,
            se=math.nan,
        )
    return difference(transfer, random)


def effect_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``effects`` for a page, the interval in one cell."""
    found = effects(rows)
    table = found[["network", "task", "images"]].rename(columns={"images": "training images"})
    table["AUROC, pretrained minus random (95 % over seeds)"] = [
        f"{_told(row)}{'' if row['seeds'] > 1 else ', one seed'}" for row in found.to_dict("records")
    ]
    table["differs p (Holm)"] = found["p differs"]
    table[f"within {TASK:g} p (TOST)"] = found["p equivalent"]
    return table


def paper_effects() -> pd.DataFrame:
    """Return the paper's effects of transfer in AUROC: network, task (RETINA, a pathology, or small), effect."""
    retina = [(name, "RETINA", (row.transfer.mean - row.random.mean) / 100) for name, row in paper.TABLE_1.items()]
    chest = [
        (network, label, (after.mean - before.mean) / 100)
        for network in dict.fromkeys(name for name, _ in paper.TABLE_2)
        for label, before, after in zip(
            paper.PATHOLOGIES, paper.TABLE_2[network, "random"], paper.TABLE_2[network, "transfer"], strict=True
        )
    ]
    small = [(name, "RETINA, small", (transfer - random) / 100) for name, (random, transfer) in paper.TABLE_3.items()]
    return pd.DataFrame([*retina, *chest, *small], columns=["network", "task", "effect"])


def paper_small() -> pd.DataFrame:
    """Return the paper's effects over the size of the training set: network, images, effect (Tables 3 and 1)."""
    rows = [
        (name, images, effect / 100)
        for name, (random, transfer) in paper.TABLE_3.items()
        for images, effect in (
            (paper.SMALL_IMAGES, transfer - random),
            (paper.RETINA_IMAGES, paper.TABLE_1[name].transfer.mean - paper.TABLE_1[name].random.mean),
        )
    ]
    return pd.DataFrame(rows, columns=["network", "images", "effect"])


def effect_title(found: pd.DataFrame) -> str:
    """Return which final scores transfer changes clearly, in which direction, by how much."""
    return f"Final score: {_changes(found)}" if len(found) else "No network was trained from both starts"


def effect_finding(found: pd.DataFrame) -> str:
    """Return every effect with its interval in a sentence."""
    said = [f"{row['network']}, {row['task']}: {_told(row)}" for row in found.to_dict("records")]
    return f"Final AUROC, pretrained minus random. {'; '.join(said)}" if said else effect_title(found)


def small_title(found: pd.DataFrame) -> str:
    """Return which scores transfer changes clearly with the fewest images, in which direction, by how much."""
    if found.empty or found["images"].nunique() < 2:
        return "Only one size of the training set was tried"
    few = found["images"].min()
    return f"With {few:,} images: {_changes(found[found['images'] == few])}"


def _changes(rows: pd.DataFrame) -> str:
    """Return the clear effects (Holm's p below ``CLEAR``), those that raise the score first."""
    if rows["seeds"].max() < 2:
        return "one seed each, no change to tell from chance"
    clear = rows[rows["p differs"] < CLEAR].to_dict("records")
    several = rows["task"].nunique() > 1
    said = []
    for verb, some in (
        ("raises", [row for row in clear if row["effect"] > 0]),
        ("lowers", [row for row in clear if row["effect"] < 0]),
    ):
        names = [f"{row['network']}{', ' + row['task'] if several else ''} by {_told(row)}" for row in some]
        said += [f"transfer {verb} that of {listed(names)}"] if names else []
    left = len(rows) - len(clear)
    said += [f"no clear change in {left} of {len(rows)} comparisons"] if left else []
    return "; ".join(said)


def _told(row: Mapping[Any, Any]) -> str:
    return told((row["effect"], row["low"], row["high"]), signed=True)


# Claims


def _pairs(networks: Any) -> list[tuple[str, str]]:
    """Return every (small, large) pair."""
    return [(a, b) for a in networks for b in networks if a not in LARGE and b in LARGE]
