"""What the chapter "Differential transfer" says: methods with accuracy and cost, the search, and evidence for R1-R3."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from transfusion_lib import networks as models
from transfusion_lib.chapters.kit import scores
from transfusion_lib.chapters.kit.curve_tables import subject
from transfusion_lib.chapters.kit.cuts import Arm
from transfusion_lib.chapters.kit.page_table import page_table
from transfusion_lib.markup import text
from transfusion_lib.papers import rethinking
from transfusion_lib.runs import Run
from transfusion_lib.runs.search import Found
from transfusion_lib.stats.words import number, share, told

LONG = {
    "FTL": "full fine-tuning",
    "FE": "feature extraction",
    "LWFT": "layer-wise fine-tuning",
    "TF": "TransFusion",
    "TTL": "TruncatedTL",
}
Networks = Mapping[str, Mapping[str, Any]]
"""``timings.measured``'s networks, by the name of the arm."""


def methods(arms: Sequence[Arm], networks: Networks) -> pd.DataFrame:
    """Return a row per arm: accuracy with its interval over seeds, and cost.

    Columns: arm, method, cut, validation (AUPRC), gain, gain_low and gain_high (test AUROC minus that of full
    fine-tuning; without an interval for one seed), auroc, auroc_low, auroc_high, auprc, auprc_low, auprc_high,
    parameters, macs, ms_B for each batch size B (median), memory (bytes).
    """
    rows = []
    for arm in arms:
        row: dict[str, Any] = {"arm": arm.name, "method": arm.method, "cut": arm.cut or ""}
        row["validation"] = scores.mean(arm.runs, "val_auprc").estimate
        row |= dict(zip(("gain", "gain_low", "gain_high"), _gain(arm, arms), strict=True))
        for score in ("auroc", "auprc"):
            found = scores.mean(arm.runs, f"test_{score}")
            row |= {score: found.estimate, f"{score}_low": found.low, f"{score}_high": found.high}
        cost = networks[arm.name]
        row |= {"parameters": cost["parameters"], "macs": cost["macs"]}
        row |= {f"ms_{batch}": float(np.median(values)) for batch, values in cost["latency_ms"].items()}
        rows.append(row | {"memory": cost["memory"]})
    return pd.DataFrame(rows)


def methods_styled(frame: pd.DataFrame, arms: Sequence[Arm]) -> Styler:
    """Return the table for a page; the last column holds the commands that make each row's runs."""
    batches = [name.removeprefix("ms_") for name in frame.columns if name.startswith("ms_")]
    shown = pd.DataFrame(
        {
            "method": [f"{arm} ({LONG[method]})" for arm, method in zip(frame["arm"], frame["method"], strict=True)],
            "cut point": frame["cut"],
            "AUROC": _with_interval(frame, "auroc"),
            "AUPRC": _with_interval(frame, "auprc"),
            "parameters (M)": frame["parameters"] / 1e6,
            "MACs (M)": frame["macs"] / 1e6,
        }
        | {f"ms, batch {batch}": frame[f"ms_{batch}"] for batch in batches}
        | {"peak memory (MB)": frame["memory"] / 1e6, "runs": [_commands(arm.runs) for arm in arms]}
    )
    formats = dict.fromkeys(shown.select_dtypes("number").columns, "{:.1f}") | {"parameters (M)": "{:.3f}"}
    return page_table(shown, formats, html=["runs"])


def searched(found: Mapping[str, Found]) -> pd.DataFrame:
    """Return a row per candidate of each search: method, cut, place, stage ("blocks", "layers"), score, low, high.

    ``place`` counts units from the input on; ``score`` is the judge's, the mean validation score over seeds, and
    ``chosen`` marks the best.
    """
    rows = []
    for method, one in found.items():
        cuts = models.describe(one.search.base.model, size=one.search.base.data.size).cut_points
        for candidate in one:
            interval = scores.over(candidate.validation)
            place = _place(cuts, candidate.cut)
            stage = "blocks" if candidate in one.blocks else "layers"
            chosen = candidate.cut == one.chosen.cut
            rows.append((method, candidate.cut, place, stage, interval.estimate, interval.low, interval.high, chosen))
    return pd.DataFrame(rows, columns=["method", "cut", "place", "stage", "score", "low", "high", "chosen"])


def paper_costs() -> pd.DataFrame:
    """Return P and MACs of the paper's ResNet-50 variants, printed and counted on the networks that we train."""
    rows = []
    for row in rethinking.TABLE_1:
        ours = models.describe(row.model, num_outputs=rethinking.OUTPUTS, size=rethinking.SIZE)
        rows.append(
            {
                "method": row.method,
                "P, paper (M)": row.parameters_m,
                "P, here (M)": ours.parameters / 1e6,
                "MACs, paper (G)": row.macs_g,
                "MACs, here (G)": ours.macs / 1e9,
                "T, paper (ms)": row.latency_ms,
            }
        )
    return pd.DataFrame(rows)


def paper_styled(frame: pd.DataFrame) -> Styler:
    """Return the table of ``paper_costs`` for a page."""
    return page_table(frame, dict.fromkeys(frame.select_dtypes("number").columns, "{:.2f}"))


def paper_source() -> str:
    """Return where the paper's numbers are from."""
    return rethinking.SOURCE


def _gain(arm: Arm, arms: Sequence[Arm]) -> tuple[float, float, float]:
    full = _named(arms, "FTL")
    found = scores.over([math.nan]) if full is None else scores.between(arm.runs, full.runs)
    return found.estimate, found.low, found.high


def frontier(frame: pd.DataFrame) -> list[str]:
    """Return the arms on the accuracy-cost frontier: no other has at least its AUROC at fewer MACs."""
    kept = []
    for row in frame.itertuples():
        cheaper = frame[(frame["macs"] < row.macs) & (frame["auroc"] >= row.auroc)]
        equal = frame[(frame["macs"] == row.macs) & (frame["auroc"] > row.auroc)]
        if cheaper.empty and equal.empty:
            kept.append(str(row.arm))
    return kept


def differential_finding(frame: pd.DataFrame) -> str:
    """Return the finding in a sentence: the size of the best truncated network, and its change of AUROC."""
    by_arm = frame.set_index("arm")
    full: pd.Series[Any] = by_arm.loc["FTL"]  # type: ignore[assignment]  # arms are unique
    name = _best(frame, "TTL")
    if name is None:
        return f"full fine-tuning reaches an AUROC of {number(full['auroc'])}; nothing was truncated"
    cut: pd.Series[Any] = by_arm.loc[name]  # type: ignore[assignment]
    return (
        f"{name} has {share(cut['parameters'] / full['parameters'])} of the parameters and "
        f"{share(cut['macs'] / full['macs'])} of the MACs of full fine-tuning, and its AUROC differs by "
        f"{_told(cut)}"
    )


def searched_titles(frame: pd.DataFrame) -> dict[str, str]:
    """Return each method's finding, in two lines: what validation chose, and how many others it is hardly ahead of."""
    titles = {}
    for method, rows in frame.groupby("method", sort=False):
        best = rows[rows["chosen"]].iloc[0]
        others = rows[~rows["chosen"]]
        near = int((others["score"] >= best["low"]).sum()) if not math.isnan(best["low"]) else len(others)
        behind = f",\n{near} of {len(others)} others lie in its interval" if len(others) else ""
        titles[str(method)] = f"{method}: {best['cut']} chosen{behind}"
    return titles


def searched_finding(frame: pd.DataFrame) -> str:
    """Return every method's finding, one after the other."""
    return "; ".join(title.replace("\n", " ") for title in searched_titles(frame).values())


def differential_title(frame: pd.DataFrame) -> str:
    """Return the finding in the length of a title."""
    name = _best(frame, "TTL")
    if name is None:
        return "Accuracy against cost"
    full, cut = (cast("pd.Series[Any]", frame.set_index("arm").loc[arm]) for arm in ("FTL", name))
    return f"{name}: {share(cut['macs'] / full['macs'])} of the MACs of full fine-tuning, AUROC {_told(cut)}"


def _told(row: "pd.Series[Any]") -> str:
    return told((row["gain"], row["gain_low"], row["gain_high"]), signed=True)


def _named(arms: Sequence[Arm], name: str) -> Arm | None:
    return next((arm for arm in arms if arm.name == name), None)


def _best(frame: pd.DataFrame, method: str) -> str | None:
    """Return the arm of a method's last stage."""
    rows = frame[frame["method"] == method]
    return None if rows.empty else str(rows["arm"].iloc[-1])


def _case(arm: Arm) -> str:
    return f"{arm.name}, {subject(arm.runs[0])}"


def _place(cuts: Sequence[str], cut: str) -> int:
    """Return how many units lie up to a stage or cut point."""
    return max(place for place, name in enumerate(cuts, start=1) if name == cut or name.split(".")[0] == cut)


def _with_interval(frame: pd.DataFrame, score: str) -> list[str]:
    rows = zip(frame[score], frame[f"{score}_low"], frame[f"{score}_high"], strict=True)
    return [
        f"{mean:.3f}" + ("" if math.isnan(low) else f" ({max(low, 0):.3f} to {min(high, 1):.3f})")
        for mean, low, high in rows
    ]


def _commands(runs: Sequence[Run]) -> str:
    """Return a fold with the command of each run."""
    lines = "\n".join(text(f"transfusion run {shlex.quote(run.spec.to_json())}") for run in runs)
    return f"<details><summary>{len(runs)} commands</summary><pre>{lines}</pre></details>"
