"""What the chapter "Where to cut" says: reuse by depth, blocks against blocks, probes, cut rules, maps; R4 to R7."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from transfusion_lib import data
from transfusion_lib.analysis import depth
from transfusion_lib.analysis.depth import is_block
from transfusion_lib.analysis.gradcam import findings_of
from transfusion_lib.chapters.cutpoint.figures import Looked
from transfusion_lib.chapters.cutpoint.study import Cutpoint
from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.cuts import Arm
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.errors import DataError
from transfusion_lib.runs import Run
from transfusion_lib.runs.search import Found
from transfusion_lib.stats.words import share, told

Rows = Sequence[Mapping[str, Any]]


def corrected(similarity: float, floor: float) -> float:
    """Return similarity above chance: 0 at the floor, 1 for the same features."""
    return (similarity - floor) / (1 - floor)


def unit(cut: str, cuts: Sequence[str]) -> str:
    """Return the cut point that a stage's name stands for: its last."""
    return cut if cut in cuts else [name for name in cuts if name.split(".")[0] == cut][-1]


def last_arms(arms: Sequence[Arm]) -> list[Arm]:
    """Return full fine-tuning and each differential method's arm of the last stage that was searched."""
    found = {arm.method: arm for arm in arms if arm.method != "FE"}
    return list(found.values())


def looked_arms(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms whose maps are compared: full fine-tuning and truncation."""
    return [arm for arm in arms if arm.method in ("FTL", "TTL")]


def reuse(study: Cutpoint, arms: Sequence[Arm]) -> pd.DataFrame:
    """Return SVCCA before against after, a row per arm, seed and stage.

    Columns: arm, method, seed, stage, place (from 0, over all stages of the whole network), similarity, floor, above
    (chance), coefficients, floor_coefficients (quantiles), n.
    """
    full = next(arm for arm in arms if arm.method == "FTL")
    stages = [row["cut"] for row in _stage_rows(study, full.runs[0])]
    rows = []
    for arm in arms:
        for run in arm.runs:
            for row in _stage_rows(study, run):
                place = stages.index(row["cut"])
                above = corrected(row["similarity"], row["floor"])
                head = {"arm": arm.name, "method": arm.method, "seed": run.spec.seed, "stage": row["cut"]}
                rows.append(head | {"place": place, "above": above} | {k: row[k] for k in REUSE})
    return pd.DataFrame(rows)


REUSE = ("similarity", "floor", "coefficients", "floor_coefficients", "n")


def coefficient_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the coefficients of ``reuse`` as numbers, a row each: arm, seed, stage, share (of the index), both."""
    parts = [
        pd.DataFrame(
            {
                "arm": row["arm"],
                "seed": row["seed"],
                "stage": row["stage"],
                "share": np.linspace(0, 1, len(row["coefficients"])),
                "before against after": row["coefficients"],
                "unrelated": row["floor_coefficients"],
            }
        )
        for row in frame.to_dict("records")
    ]
    return pd.concat(parts, ignore_index=True)


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``reuse`` without the lists of coefficients."""
    return frame.drop(columns=["coefficients", "floor_coefficients"])


def reuse_finding(frame: pd.DataFrame) -> str:
    """Return the finding: similarity above chance at the bottom and the top block of full fine-tuning."""
    full = frame[(frame["method"] == "FTL") & frame["stage"].map(is_block)]
    names = dict(zip(full["place"], full["stage"], strict=True))
    kept = [
        f"{told(scores.over(full.loc[full['place'] == place, 'above'].tolist()))} of {names[place]}"
        for place in (full["place"].min(), full["place"].max())
    ]
    return f"full fine-tuning keeps {', '.join(kept)}"


def pairs(study: Cutpoint, full: Arm) -> pd.DataFrame:
    """Return SVCCA of block against block, a row per seed, moment and pair: first, second, similarity, floor, above."""
    rows = [
        {"seed": run.spec.seed, **row, "above": corrected(row["similarity"], row["floor"])}
        for run in full.runs
        for row in _by_block(study, run)["pairs"]
    ]
    return pd.DataFrame(rows)


def pairs_finding(frame: pd.DataFrame) -> str:
    """Return the finding: how the top block's similarity above chance to the claim's lower blocks changed."""
    changes = _top_changes(frame, "above")
    if not changes:
        return "too few blocks to compare"
    top = list(dict.fromkeys(frame["second"]))[-1]
    words = [f"{told(scores.over(values), signed=True)} with {lower}" for lower, values in changes.items()]
    return f"the likeness of {top} changes by {', '.join(words)}"


def probes(study: Cutpoint, full: Arm) -> pd.DataFrame:
    """Return the classifier on each stage's features: seed, stage, place, val_auprc, test_auroc, test_auprc."""
    return pd.DataFrame(
        [
            {"seed": run.spec.seed, "place": place, **row}
            for run in full.runs
            for place, row in enumerate(_by_block(study, run)["probes"])
        ]
    )


def probes_finding(frame: pd.DataFrame) -> str:
    """Return the finding: the stage that validation chooses on average, and its test AUROC minus the top's."""
    means = frame.groupby("stage", sort=False)["val_auprc"].mean()
    best, top = str(means.idxmax()), str(means.index[-1])
    if best == top:
        return f"validation chooses the features of the last stage, {top}"
    tests = frame.pivot_table(index="seed", columns="stage", values="test_auroc")
    gap = told(scores.over((tests[best] - tests[top]).tolist()), signed=True)
    return f"validation chooses {best}; its test AUROC minus that of the top is {gap}"


def overlap(found: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    """Return the overlap with unrelated features, a row per seed and cut point: seed, cut, place, overlap."""
    return pd.DataFrame(
        [
            {"seed": seed, "cut": cut, "place": place, "overlap": value}
            for seed, one in enumerate(found)
            for place, (cut, value) in enumerate(one.items(), start=1)
        ]
    )


def rules(searched: Found, ruled: Arm, full: Arm) -> pd.DataFrame:
    """Return both ways to a cut point beside full fine-tuning: cut, auroc with interval, trainings, and their seconds.

    A search trains every candidate; the rule trains the whole network and the one that it names.
    """
    trained = [run for candidate in searched for run in candidate.runs]
    ways = (
        ("full fine-tuning", "", full.runs, list(full.runs)),
        ("two-stage search", searched.chosen.cut, searched.chosen.runs, trained),
        ("SVCCA rule (C.1)", ruled.cut or "", ruled.runs, [*full.runs, *ruled.runs]),
    )
    rows = []
    for name, cut, chosen, needed in ways:
        mean = scores.mean(chosen, "test_auroc")
        distinct = {run.key: run for run in needed}.values()
        rows.append(
            {
                "way": name,
                "cut point": cut,
                "AUROC": mean.estimate,
                "low": mean.low,
                "high": mean.high,
                "trainings": len(distinct),
                "training (s)": sum(run.record["seconds"] for run in distinct),
            }
        )
    return pd.DataFrame(rows)


def rules_styled(frame: pd.DataFrame) -> Styler:
    """Return the table of ``rules`` for a page, intervals in words."""
    ends = zip(frame["AUROC"], frame["low"], frame["high"], strict=True)
    words = [
        f"{mean:.3f}" + ("" if math.isnan(low) else f" ({max(low, 0):.3f} to {min(high, 1):.3f})")
        for mean, low, high in ends
    ]
    shown = frame.assign(AUROC=words).drop(columns=["low", "high"])
    return page_table(shown, {"training (s)": "{:.0f}"})


def cuts_finding(ruled: Arm, searched: Found) -> str:
    """Return the finding: where each way cuts, and the difference of their AUROCs."""
    at = f"the SVCCA rule cuts at {ruled.cut or 'no stage'}, the search at {searched.chosen.cut}"
    return f"{at}; test AUROC, rule minus search, {told(scores.between(ruled.runs, searched.chosen.runs), signed=True)}"


def agreement(found: Sequence[Mapping[str, float]], searched: Found, *, threshold: float) -> pd.DataFrame:
    """Return both cut points of each seed: seed, rule, searched, apart (in cut points), agrees (at or next to).

    The seed's search is judged by its own validation scores alone, so that seeds are repetitions of the whole method.
    """
    rows = []
    for place, one in enumerate(found):
        cuts = list(one)
        best = max(searched, key=lambda candidate: candidate.validation[place])
        ours, theirs = depth.rule_cut(one, threshold=threshold), unit(best.cut, cuts)
        apart = abs(cuts.index(ours) - cuts.index(theirs))
        seed = searched.search.seeds[place]
        rows.append({"seed": seed, "SVCCA rule": ours, "search": theirs, "apart": apart, "agrees": apart <= 1})
    return pd.DataFrame(rows)


def chance_of_agreement(cuts: int) -> float:
    """Return how often a cut point drawn at random is at or next to another drawn at random, of ``cuts``."""
    return (3 * cuts - 2) / cuts**2


def pointing(arms: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """Return how often each arm's maps point at a finding: arm, seed, hits, chance, centre, inside, area, images."""
    rows = []
    for arm, found in arms.items():
        for seed, one in enumerate(found):
            images = pd.DataFrame(one["rows"])
            if "hit" not in images:
                continue
            means = {name: float(images[name].mean()) for name in ("hit", "chance", "centre", "inside", "area")}
            rows.append({"arm": arm, "seed": seed, **means, "images": len(images)})
    return pd.DataFrame(rows, columns=["arm", "seed", "hit", "chance", "centre", "inside", "area", "images"])


def pointing_styled(frame: pd.DataFrame) -> Styler | None:
    """Return the table of ``pointing`` for a page; None, which shows nothing, where no map could be scored."""
    if frame.empty:
        return None
    names = {
        "arm": "network",
        "hit": "on a finding",
        "chance": "a random point",
        "centre": "the image's centre",
        "inside": "of the map's sum on findings",
        "area": "findings' share of the image",
    }
    shares = [names[name] for name in ("hit", "chance", "centre", "inside", "area")]
    return page_table(frame.rename(columns=names), dict.fromkeys(shares, "{:.1%}"))


def pointing_finding(frame: pd.DataFrame) -> str:
    """Return the finding: each arm's share of hits, and that of a random point."""
    if frame.empty:
        return "these data have no masks of findings, so maps cannot be scored"
    means = frame.groupby("arm", sort=False)[["hit", "chance", "centre"]].mean()
    words = " and ".join(f"{arm} {share(row['hit'])}" for arm, row in means.iterrows())
    chance, centre = share(means["chance"].mean()), share(means["centre"].mean())
    return f"strongest point on a finding: {words}; a random point {chance}, the image's centre {centre}"


def looked(run: Run, found: Mapping[str, Mapping[str, Any]]) -> list[Looked]:
    """Return the example images with the maps of each arm; the pictures are left out where the data are not here."""
    first = next(iter(found.values()))
    if not first["rows"]:
        return []
    try:
        dataset = data.load(run.spec.data)
    except DataError:  # a page of recorded runs needs no data; the maps alone are shown
        dataset = None
    examples = []
    for number in range(len(first["maps"])):
        place = first["rows"][number]["place"]
        maps = {arm: one["maps"][number].numpy() for arm, one in found.items()}
        if dataset is None:
            examples.append(Looked(name=f"case {place}", pixels=None, outline=None, maps=maps))
            continue
        findings = findings_of(dataset)
        outline = None if findings is None else findings[place].numpy().astype(bool)
        image = dataset.test.images[place].numpy()
        pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
        examples.append(Looked(name=dataset.test.ids[place], pixels=pixels, outline=outline, maps=maps))
    return examples


def looked_rows(found: Mapping[str, Mapping[str, Any]], examples: int) -> pd.DataFrame:
    """Return the numbers of the example images: arm, place in the test set, hit, inside, area."""
    return pd.DataFrame(
        [
            {"arm": arm, **{name: row[name] for name in ("place", "hit", "inside", "area") if name in row}}
            for arm, one in found.items()
            for row in one["rows"][:examples]
        ]
    )


def _stage_rows(study: Cutpoint, run: Run) -> list[dict[str, Any]]:
    """Return the rows at the ends of stages; full fine-tuning is measured at every layer, for the cut rule."""
    whole = run.spec.model.truncate is None and run.spec.model.slim is None and run.spec.train.freeze is None
    rows = study.before_after(run, every_layer=whole)
    last = {row["cut"].split(".")[0]: row for row in rows}
    return [{**row, "cut": stage} for stage, row in last.items()]


def _by_block(study: Cutpoint, run: Run) -> dict[str, Any]:
    return depth.by_block(run, images=study.pooled_images, keep=study.keep)


def _top_changes(frame: pd.DataFrame, value: str) -> dict[str, list[float]]:
    """Return, for each lower block of the claim, every seed's change of ``value`` with the top block."""
    blocks = list(dict.fromkeys(frame["second"]))
    top = blocks[-1]
    named = [block for block in ("block2", "block3") if block in blocks[:-1]]
    lower = named if len(named) == 2 else blocks[-3:-1]
    changes = {}
    for block in lower:
        rows = frame[(frame["first"] == block) & (frame["second"] == top)]
        wide = rows.pivot_table(index="seed", columns="moment", values=value)
        changes[block] = [float(v) for v in wide["after"] - wide["before"]]
    return changes


def _named(values: Mapping[Any, float]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items() if not math.isnan(value)}
