"""No sentence against its figure: each generated title and finding is held against the numbers of its panel.

Over random frames (ties, one seed, missing starts, reversed effects) and over the published records. ``held`` takes a
sentence apart: every claim of an order, an extreme or a sign must be of a known form, and the numbers must have it.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_ind

from transfusion_lib import chapters, stats
from transfusion_lib.book import parameters, profiles, project
from transfusion_lib.chapters.breadth import tables as breadth
from transfusion_lib.chapters.convergence import tables as convergence_tables
from transfusion_lib.chapters.cutpoint import tables as cutpoint
from transfusion_lib.chapters.differential import tables as differential
from transfusion_lib.chapters.filters import tables as filters
from transfusion_lib.chapters.kit import arrivals as kit_arrivals
from transfusion_lib.chapters.kit import curve_tables, losses
from transfusion_lib.chapters.performance import cost_tables
from transfusion_lib.chapters.performance import tables as performance_tables
from transfusion_lib.chapters.representations import tables as representations
from transfusion_lib.chapters.reuse import tables as reuse
from transfusion_lib.chapters.transfusion import tables as transfusion_tables
from transfusion_lib.runs import Run, records
from transfusion_lib.stats import words

Values = Mapping[str, Sequence[float]]
Triple = tuple[float, float, float]
NUMBER = r"[+\N{MINUS SIGN}]?[\d,]+(?:\.\d+)?"
TOLD = re.compile(rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)")
CLAIM = re.compile(
    r"\b(first|then|most|least|fast(?:er|est)|slower|highest|lowest|best|closest|ahead|behind|leads|raises|lowers|gains|"
    r"more|less|fewer|above|below|beyond|better|worse|prefers|agree|predicts)\b"
)
# What says that there is nothing to say, and where something stands.
NO_CLAIM = (
    r"no(?:ne)? (?:is )?clearly highest|no stage is clearly best|no stage stands apart|no clear change",
    r"\(CBR|above (?:the|their) floors?|Starts without features",
)
FEW = settings(max_examples=25, deadline=None)


def number(text: str) -> tuple[float, float]:
    """Return a number as printed and half a unit of its last place."""
    plain = text.replace("\N{MINUS SIGN}", "-").replace(",", "")
    return float(plain), 0.5 * 10.0 ** -len(plain.partition(".")[2]) + 1e-9


def quoted(sentence: str, triples: Iterable[Triple]) -> None:
    """Hold each estimate with an interval against those of the panel."""
    known = list(triples)
    for shown in TOLD.findall(sentence):
        near = [all(abs(value - given) <= half for (value, half), given in zip(map(number, shown), one, strict=True))
                for one in known]  # fmt: skip
        assert any(near), f"{shown} in {sentence!r} is no number of its panel: {known}"


def apart(low: Sequence[float], high: Sequence[float]) -> bool:
    """Tell whether one group's mean is below another's by more than chance (Welch, 5 %)."""
    if min(len(low), len(high)) < 2 or not np.mean(low) < np.mean(high):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of groups whose values are all the same
        return np.ptp(low) == np.ptp(high) == 0 or float(ttest_ind(low, high, equal_var=False).pvalue) < 0.05


def names_in(text: str, values: Values) -> list[str]:
    """Return the names that a list in a sentence has."""
    found, rest = [], text
    for name in sorted(values, key=len, reverse=True):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", rest):
            found.append(name)
            rest = rest.replace(name, "", 1)
    return found


def held(sentence: str, values: Values, triples: Iterable[Triple] = (), *, reached: Values | None = None) -> None:
    """Hold the order, extremes and signs that a sentence claims against ``values``, a list over seeds by name."""
    rest = sentence
    if shown := re.search(r"at the threshold (.+?) first, then (.+?)(?:;|$)", rest):
        groups = [names_in(part, values) for part in (shown[1], *shown[2].split(", then "))]
        assert all(groups), sentence
        for place, before in enumerate(groups):
            for one in before:
                for other in (name for group in groups[place + 1 :] for name in group):
                    assert apart(values[one], values[other]), f"{sentence!r}: {one} against {other}"
                    if reached is not None:
                        assert np.mean(reached[one]) >= np.mean(reached[other]), sentence
        rest = rest.replace(shown[0], "")
    for form, lowest in (
        (r"(?P<name>[^:;.]+?) is highest on the way", False),
        (r"(?P<name>[^:;.]+?) keeps most(?: of its start)?", False),
        (r"(?P<name>[^:;.,]+?) keeps least", True),
        (r"read most from (?P<name>[^:;]+)", False),
        (r"least in (?P<name>[^:;]+?)(?= and most|$)", True),
        (r"most in (?P<name>[^:;]+)", False),
    ):
        for shown in re.finditer(form, rest):
            for name in names_in(shown["name"], values) or [""]:
                assert name, f"{sentence!r} names none of {list(values)}"
                kind = name.rpartition("|")[0]
                others = [other for other in values if other != name and other.rpartition("|")[0] == kind]
                assert others, sentence
                for other in others:
                    pair = (name, other) if lowest else (other, name)
                    assert apart(*(values[one] for one in pair)), f"{sentence!r}: {name} against {other}"
            rest = rest.replace(shown[0], "")
    for shown in re.finditer(r"transfer (raises|lowers) that of ((?:(?!;).)+)", rest):
        for estimate, low, high in TOLD.findall(shown[2]):
            signs = {math.copysign(1, number(one)[0]) for one in (estimate, low, high)}
            assert signs == {1 if shown[1] == "raises" else -1}, sentence
        assert TOLD.search(shown[2]), sentence
        rest = rest.replace(shown[0], "")
    for form in NO_CLAIM:
        rest = re.sub(form, "", rest)
    left = CLAIM.findall(rest)
    assert not left, f"{sentence!r} claims {left}, which nothing holds against its numbers"
    quoted(sentence, triples)


def mean_of(values: Sequence[float]) -> Triple:
    """Return a mean with its interval over seeds; without one for a single seed."""
    if len(values) < 2:
        return (float(np.mean(values)), math.nan, math.nan)
    one = stats.over_seeds(values)
    return one.estimate, one.low, one.high


def gap(a: Sequence[float], b: Sequence[float]) -> Triple:
    """Return a difference of means with Welch's interval."""
    one = stats.difference(a, b)
    return one.estimate, one.low, one.high


# Curves and arrivals

STARTS = ("random", "Mean Var", "bootstrap", "conv1", "block2", "Slim", "Gabor conv1", "pretrained")
THRESHOLD, IN_A_ROW = 0.8, 2


@st.composite
def curves(draw: st.DrawFn) -> pd.DataFrame:
    """Return curves on a coarse grid of scores, so that arrivals tie, with some starts, some seeds each."""
    starts = draw(st.lists(st.sampled_from(STARTS), min_size=1, max_size=5, unique=True))
    score = st.sampled_from([0.6, 0.78, 0.85, 0.9])
    rows = []
    for init in starts:
        early = draw(st.integers(1, 6))
        for seed in range(draw(st.integers(1, 5))):
            late = draw(st.booleans())
            for place in range(7):
                value = draw(score) if place < early else 0.7 if late and early > 4 else 0.88 + 0.001 * seed
                rows.append(("CBR-Tiny", init, seed, 10 * place, value, f"{init} {seed}"))
    return pd.DataFrame(rows, columns=["network", "init", "seed", "step", "auroc", "run"])


def arrivals(frame: pd.DataFrame, threshold: float, score: str) -> tuple[Values, Values, Values]:
    """Return by start, over seeds: the step of arrival or the last, whether it arrived, the mean score on the way."""
    steps: dict[str, list[float]] = {}
    reached: dict[str, list[float]] = {}
    ways: dict[str, list[float]] = {}
    horizon = frame.groupby(["init", "seed"])["step"].max().min()
    for (init, _), run in frame[frame["step"] <= horizon].groupby(["init", "seed"], sort=False):
        run = run.sort_values("step")
        on = (run[score] >= threshold).tolist()
        at = [k for k in range(len(on) - IN_A_ROW + 1) if all(on[k : k + IN_A_ROW])]
        steps.setdefault(str(init), []).append(float(run["step"].iloc[at[0] if at else -1]))
        reached.setdefault(str(init), []).append(float(bool(at)))
        ways.setdefault(str(init), []).append(float(np.trapezoid(run[score], run["step"]) / np.ptp(run["step"])))
    return steps, reached, ways


def held_speed(frame: pd.DataFrame, threshold: float) -> None:
    """Hold what the chapters on speed say of curves against them."""
    score = "auroc"
    found = kit_arrivals.arms(frame, threshold=threshold, in_a_row=IN_A_ROW, score=score)
    gains = transfusion_tables.marginal_gains(found)
    columns = [("steps", "steps_low", "steps_high"), ("way", "way_low", "way_high")]
    for network, part in frame.groupby("network", sort=False):
        steps, reached, ways = arrivals(part, threshold, score)
        title = convergence_tables.convergence_titles(found)[str(network)]
        held(title, steps, reached=reached)
        for count, runs, start in re.findall(r"(\d+) of (\d+) runs of ([\w ]+?)(?= and| reach|,)", title):
            assert (int(count), int(runs)) == (sum(reached[start]), len(reached[start])), title
        if never := re.search(r"none of (.+)$|no run of (.+) (?:gets|reaches)", title):
            assert not any(sum(reached[start]) for start in names_in(never[1] or never[2], reached)), title
        kept = {start: values for start, values in ways.items() if start not in ("random", "pretrained")}
        several = "random" in ways and min(map(len, ways.values())) > 1
        triples = [gap(values, ways["random"]) for values in kept.values()] if several else []
        mine = {str(network): found[str(network)]}
        held(convergence_tables.controls_title(mine), kept, triples)
        ups = kit_arrivals.speed_ups(mine)
        for row in kit_arrivals.speed_up_table(mine).to_dict("records"):
            one = ups[ups["init"] == row["init"]].iloc[0]
            single = min(len(ways[row["init"]]), len(ways["random"])) < 2
            assert ("one seed" in row.values()) == single, row
            assert "anything" not in str(row)
            quoted(row["speed-up in steps"], [tuple(one[["gain", "low", "high"]])])
            quoted(row["gain in mean AUROC on the way"], [tuple(one[["way", "way_low", "way_high"]])])
    said = transfusion_tables.marginal_title(gains)
    held(said, {}, [tuple(row[list(names)]) for _, row in gains.iterrows() for names in columns])
    for estimate, low, high in TOLD.findall(said):
        signs = {math.copysign(1, number(one)[0]) for one in (estimate, low, high)}
        assert len(signs) == 1, f"{said!r}: a gain that its interval leaves open"


@FEW
@given(curves())
def test_words_on_speed_are_those_of_the_curves(frame: pd.DataFrame) -> None:
    held_speed(frame, THRESHOLD)


# Training losses


@st.composite
def mean_losses(draw: st.DrawFn) -> pd.DataFrame:
    """Return mean losses of some starts, with or without the random one, over seeds that need not be the same."""
    rows = []
    for init in draw(st.lists(st.sampled_from(STARTS), min_size=1, max_size=5, unique=True)):
        level, spread = draw(st.sampled_from([0.5, 0.75, 1.0, 1.25])), draw(st.sampled_from([0.0, 1 / 64, 1 / 4]))
        first = draw(st.sampled_from([0, 0, 0, 3]))
        for seed in range(first, first + draw(st.integers(1, 5))):
            rows.append(("CBR-Tiny", init, seed, level + spread * draw(st.sampled_from([-1.0, 0.0, 1.0]))))
    return pd.DataFrame(rows, columns=["network", "init", "seed", "loss"])


def held_gains(frame: pd.DataFrame) -> None:
    """Hold which starts are said to be faster or slower, and by how much, against the losses of the same seeds."""
    found = losses.gains(frame)
    titles, told = losses.gain_titles(found), losses.gain_finding(found)
    signs: dict[str, dict[str, int]] = {}
    for network, part in frame.groupby("network", sort=False):
        wide = part.pivot_table(index="seed", columns="init", values="loss")
        for init in wide.columns.drop("random", errors="ignore") if "random" in wide else ():
            lower = (wide["random"] - wide[init]).dropna()
            if lower.empty:
                continue
            apart_from_0 = len(lower) > 1 and np.ptp(lower) > 1e-12 and ttest_1samp(lower, 0).pvalue < 0.05
            signs.setdefault(str(network), {})[str(init)] = int(np.sign(lower.mean()) * apart_from_0)
    assert set(titles) == set(signs)
    for network, title in titles.items():
        mine = signs[network]
        faster, slower = ({init for init, sign in mine.items() if sign == way} for way in (1, -1))
        every, known = "every start is faster" in title, {name: [0.0] for name in mine}
        said = {
            way: re.search(rf"(?:^|; |: )((?:(?!;|: ).)+?) (?:is|are) {way}", title) for way in ("faster", "slower")
        }
        for way, group in (("faster", faster), ("slower", slower)):
            shown = said[way]
            named = set(names_in(shown[1], known)) if shown and not every else set(mine) if shown else set()
            assert named == group, title
        assert ("no start differs" in title) == (not faster and not slower), title
        assert ("the rest not" in title) == bool((faster or slower) and len(faster | slower) < len(mine)), title
    fulls = found[found["init"] == "pretrained"]
    triples = [(one["gain"], one["low"], one["high"]) for one in fulls.to_dict("records")]
    quoted(told, [*triples, *((-gain, -high, -low) for gain, low, high in triples)])
    for network in fulls["network"]:
        sentence = next(part for part in told.split(". ") if part.startswith(f"{network}: "))
        assert ("raise the" in sentence) == (signs[network]["pretrained"] < 0), told
    shares = found[["share", "share_low", "share_high"]].dropna().values.tolist()
    for shown in re.findall(r"(-?[\d.]+) % \((-?[\d.]+) % to (-?[\d.]+) %\)", told):
        near = [all(abs(float(a) - 100 * b) <= 0.5 + 1e-9 for a, b in zip(shown, one, strict=True)) for one in shares]
        assert any(near), told


@FEW
@given(mean_losses())
def test_words_on_training_losses_are_those_of_the_runs(frame: pd.DataFrame) -> None:
    held_gains(frame)


# Final scores


@st.composite
def finals(draw: st.DrawFn) -> pd.DataFrame:
    """Return final scores of some networks from one or both starts, with one seed or several, at one size or two."""
    sizes = draw(st.sampled_from([[1000], [50, 1000]]))
    rows = []
    for network in draw(st.lists(st.sampled_from(["ResNet-50", "CBR-Tiny", "CBR-Small"]), min_size=1, unique=True)):
        for init in draw(st.sampled_from([("random", "pretrained"), ("pretrained",), ("random",)])):
            for images in sizes:
                centre, spread = draw(st.sampled_from([0.7, 0.8, 0.81])), draw(st.sampled_from([0.0, 0.005, 0.05]))
                for seed in range(draw(st.integers(1, 5))):
                    value = centre + spread * draw(st.sampled_from([-1.0, 0.0, 1.0]))
                    rows.append((network, init, seed, images, 40, "grade", value, 0.0, math.nan, math.nan, f"{seed}"))
    names = ["network", "init", "seed", "images", "step", "task", "auroc", "rise", "low", "high", "run"]
    return pd.DataFrame(rows, columns=names)


def held_finals(rows: pd.DataFrame) -> None:
    """Hold what the chapter on final scores says of them against them."""
    found = performance_tables.effects(rows)
    triples = [tuple(row) for row in found[["effect", "low", "high"]].itertuples(index=False)]
    top = performance_tables.effects(performance_tables.full_size(rows))
    for said in (
        performance_tables.effect_title(top),
        performance_tables.effect_finding(top),
        performance_tables.small_title(found),
    ):
        held(said, {}, triples)
        for verb, network in re.findall(r"(raises|lowers) that of ([\w-]+)", said):
            size = found["images"].min() if said.startswith("With") else found["images"].max()
            row = found[(found["network"] == network) & (found["images"] == size)].iloc[0]
            assert row["p differs"] < 0.05, said
            assert (row["effect"] > 0) == (verb == "raises"), said
        assert "one seed" not in said or found["seeds"].min() < 2


@FEW
@given(finals())
def test_words_on_final_scores_are_those_of_the_scores(rows: pd.DataFrame) -> None:
    held_finals(rows)


def held_costs(table: pd.DataFrame) -> None:
    """Hold which network is called fastest and highest against the bars of the panels."""
    said = cost_tables.cost_title(table)
    rest = said
    for form, low, high in (
        (r"([\w-]+) is fastest", "latency in ms, lower quartile", "latency in ms, upper quartile"),
        (r"([\w-]+) scores highest", "AUROC low", "AUROC high"),
    ):
        for shown in re.finditer(form, rest):
            one, others = table[table["network"] == shown[1]].iloc[0], table[table["network"] != shown[1]]
            assert len(others), f"{said!r} of one network"
            better = (one[high] < others[low]) if "fastest" in form else (one[low] > others[high])
            assert better.all(), said
        rest = re.sub(form, "", rest)
    assert not CLAIM.findall(rest), said


@FEW
@given(st.lists(st.tuples(*[st.sampled_from([1.0, 1.1, 2.0, 3.0])] * 2, *[st.sampled_from([0.8, 0.81, 0.9])] * 2),
                min_size=1, max_size=4))  # fmt: skip
def test_words_on_costs_are_those_of_the_bars(drawn: list[tuple[float, ...]]) -> None:
    rows = [
        {"network": f"Net-{k}", "latency in ms": (a + b) / 2, "latency in ms, lower quartile": min(a, b),
         "latency in ms, upper quartile": max(a, b), "AUROC": (c + d) / 2, "AUROC low": min(c, d),
         "AUROC high": max(c, d) if c != d else math.nan}
        for k, (a, b, c, d) in enumerate(drawn)
    ]  # fmt: skip
    held_costs(pd.DataFrame(rows))


# Stages, filters, probes


@st.composite
def by_stage(draw: st.DrawFn, *columns: str, inits: tuple[str, ...] = ("random", "pretrained")) -> pd.DataFrame:
    """Return columns of values by network, start, seed and stage, at levels that tie or differ."""
    starts = draw(st.sampled_from([inits, inits[:1], inits[1:]]))
    level = st.sampled_from([0.1, 0.3, 0.31, 0.8])
    rows = []
    seeds = draw(st.integers(1, 4))
    for init in starts:
        for stage in ("pool1", "pool2", "pool3"):
            centre, spread = draw(level), draw(st.sampled_from([0.0, 0.002, 0.2]))
            for seed in range(seeds):
                shift = spread * draw(st.sampled_from([-0.4, 0.0, 0.4]))
                rows.append(("CBR-Tiny", init, seed, stage, *(centre + shift for _ in columns)))
    return pd.DataFrame(rows, columns=["network", "init", "seed", "stage", *columns])


def gaps_of(by: Mapping[str, Values]) -> list[Triple]:
    """Return pretrained minus random for each stage; seeds that do not vary have no interval, and no sign."""
    return [gap(by["pretrained"][stage], values) for stage, values in by["random"].items()]


def held_stages(own: pd.DataFrame) -> None:
    """Hold what is said of stages and their start against it."""
    for network, title in representations.per_layer_titles(own).items():
        part = own[own["network"] == network]
        by: dict[str, dict[str, list[float]]] = {
            str(init): {str(stage): one.tolist() for stage, one in rows.groupby("stage", sort=False)["cca_above"]}
            for init, rows in part.groupby("init", sort=False)
        }
        if shown := re.search(r"clearly more of their start than random ones in (\d+) of (\d+) stages", title):
            more, less = (
                sum(one[end] * sign > 0 and one[1] < one[2] for one in gaps_of(by)) for end, sign in ((1, 1), (2, -1))
            )
            assert (int(shown[1]), int(shown[2])) == (more, len(by["random"])), title
            assert f", less in {less}" in title if less else "less" not in title
            continue
        held(title, next(iter(by.values())) if len(by) == 1 else {})
    words_of_floors = representations.floor_words(own)
    gaps = own["cca_floor"] - own["expected"]
    assert words_of_floors.startswith("No floor is above") == bool(gaps.max() <= 0)


@FEW
@given(by_stage("cca_above", "cka_above"), st.sampled_from([-0.1, 0.0, 0.2]))
def test_words_on_stages_are_those_of_the_similarities(own: pd.DataFrame, floor: float) -> None:
    held_stages(own.assign(cca_floor=0.3 + floor, expected=0.3))


def held_moves(movement: pd.DataFrame) -> None:
    """Hold whose filters are said to move least and most against the medians of the runs."""
    medians: dict[str, list[float]] = {}
    runs = movement.groupby(["network", "init", "seed"], sort=False)["moved"].median()
    for (network, init, _), value in zip(runs.index.tolist(), runs.tolist(), strict=True):
        medians.setdefault(f"{network} {init}", []).append(float(value))
    held(filters.movement_title(movement), medians)


@FEW
@given(by_stage("moved"))
def test_words_on_filters_are_those_of_their_movement(movement: pd.DataFrame) -> None:
    held_moves(movement.rename(columns={"stage": "filter"}))


def held_reuse(probes: pd.DataFrame, reset: pd.DataFrame) -> None:
    """Hold what is said of probes and of stages that are set back against them."""
    linear = probes[(probes["probe"] == "linear probe") & (probes["when"] == "after")]
    for network, title in reuse.probe_titles(probes).items():
        by: dict[str, list[float]] = {
            f"{init}|{stage}": rows["auroc"].tolist()
            for (init, stage), rows in linear[linear["network"] == network].groupby(["init", "stage"], sort=False)
        }
        held(re.sub(r"([\w.]+) \((\w[\w ]*)\)", r"\2|\1", title), by)
    lost = reset[reset["reset"] == "set back to its start"]
    for network, title in reuse.set_back_titles(reset).items():
        part = lost[lost["network"] == network]
        assert ("one seed" in title) == (part.groupby("init")["seed"].nunique().max() < 2), title
        for count, all_of, init in re.findall(r"(\d+) of (\d+) stages \((\w+)\)", title):
            stages = [rows["lost"].tolist() for _, rows in part[part["init"] == init].groupby("stage", sort=False)]
            assert (int(count), int(all_of)) == (sum(mean_of(one)[1] > 0 for one in stages), len(stages)), title


@FEW
@given(by_stage("auroc", "lost"))
def test_words_on_reuse_are_those_of_probes_and_resets(frame: pd.DataFrame) -> None:
    held_reuse(frame.assign(probe="linear probe", when="after"), frame.assign(reset="set back to its start"))


# Where to cut


@FEW
@given(by_stage("test_auroc", "val_auprc", inits=("pretrained", "random")))
def test_words_on_a_lower_block_are_those_of_its_classifiers(frame: pd.DataFrame) -> None:
    held_probes(frame[frame["init"] == frame["init"].iloc[0]])


def held_probes(frame: pd.DataFrame) -> None:
    """Hold the gain over the top that is said of the stage that validation chooses against both."""
    said = cutpoint.probes_finding(frame)
    means = frame.groupby("stage", sort=False)["val_auprc"].mean()
    wide = frame.pivot_table(index="seed", columns="stage", values="test_auroc")
    triples = [mean_of((wide[stage] - wide[means.index[-1]]).tolist()) for stage in means.index]
    held(said, {}, triples)
    assert str(means.idxmax()) in said


# The lead in every cell


@FEW
@given(st.lists(st.tuples(*[st.sampled_from([-0.1, 0.0, 0.02, 0.1])] * 2), min_size=1, max_size=5), st.booleans())
def test_words_on_leads_are_those_of_the_rows(drawn: list[tuple[float, float]], synthetic: bool) -> None:
    rows = [
        {"cell": f"cell {k}", "data": f"set {k}", "synthetic": synthetic, "network": "CBR-Tiny", "early": early,
         "end": end, "early p": abs(early) < 0.05, "end p": abs(end) < 0.05}
        for k, (early, end) in enumerate(drawn)
    ]  # fmt: skip
    held_leads(pd.DataFrame(rows), 30)


def held_leads(found: pd.DataFrame, early: int) -> None:
    """Hold the mean leads and the numbers of rows that are said against the rows."""
    said = breadth.lead_title(found, early=early)
    sets = found if found["synthetic"].all() else found[~found["synthetic"]]
    groups = [part.groupby("data")[["early", "end"]].mean() for _, part in sets.groupby("network")]
    quoted(said, [mean_of(part[name].tolist()) for part in groups for name in ("early", "end") if len(part) > 1])
    clear = [int(((found[f"{name} p"] < 0.05) & (found[name] > 0)).sum()) for name in ("early", "end")]
    told = breadth.counted(found, early=early)
    assert told.startswith(f"{clear[0]} of {len(found)} rows after {early} steps and in {clear[1]} at the end"), told


# The rules themselves


@given(st.floats(-500, 500), st.floats(1e-5, 300), st.floats(-1, 1))
def test_rounding_never_moves_an_end_onto_a_bound(centre: float, half: float, mark: float) -> None:
    low, high = centre - half, centre + half
    digits = words.places(low, high, marks=(0.0, mark))
    for end in (low, high):
        for bound in (0.0, mark):
            if abs(end - bound) > 1e-6:
                assert round(end, digits) != round(bound, digits)


@FEW
@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from([0.0, 0.1, 1.0, 5.0]), min_size=2,
                                                           max_size=5), min_size=1))  # fmt: skip
def test_groups_in_an_order_are_apart_and_leave_none_out(values: dict[str, list[float]]) -> None:
    groups = words.order({name: stats.over_seeds(one) for name, one in values.items()})
    assert sorted(name for group in groups for name in group) == sorted(values)
    for place, group in enumerate(groups):
        assert all(apart(values[a], values[b]) for rest in groups[place + 1 :] for a in group for b in rest)
    best = words.extreme({name: stats.over_seeds(one) for name, one in values.items()})
    assert best is None or all(apart(values[other], values[best]) for other in values if other != best)
    assert (words.in_order(groups) is None) == (len(groups) == 1)


# The published records

BOOK = project.find()
PUBLISHED = profiles.load(BOOK, "published")


def recorded(name: str) -> tuple[Any, list[Run]]:
    """Return a chapter's study as it is published, and its recorded runs."""
    study = chapters.TABLE[name](**parameters.effective(BOOK.chapter(name), PUBLISHED.parameters(BOOK.chapter(name))))
    return study, study.ensure(records.open_records().load)


def speed(study: Any, runs: list[Run]) -> None:
    held_speed(curve_tables.curves(runs), study.threshold)
    held_gains(losses.mean_losses(runs))


def performance(study: Any, runs: list[Run]) -> None:
    rows = performance_tables.finals(runs)
    held_finals(performance_tables.full_size(rows))
    held_finals(performance_tables.finals(runs, step=study.small_steps))
    held_costs(cost_tables.cost_table(runs, rows))


def represented(study: Any, runs: list[Run]) -> None:
    own = representations.before_after(
        representations.similarities(
            runs, images=study.probe_images, per_image=study.per_image, per_channel=study.per_channel
        )
    )
    held_stages(own)


def filtered(_study: Any, runs: list[Run]) -> None:
    held_moves(filters.filter_movement(runs))


def reused(study: Any, runs: list[Run]) -> None:
    probes = reuse.probe_scores(runs, train=study.probe_train, test=study.probe_test, neighbours=study.neighbours)
    held_reuse(probes, reuse.set_back(runs, cases=study.test_cases))


def cut(study: Any, runs: list[Run]) -> None:
    found = differential.searched(study.found(runs))
    for method, title in differential.searched_titles(found).items():
        rows = found[found["method"] == method]
        best, others = rows[rows["chosen"]].iloc[0], rows[~rows["chosen"]]
        near = re.search(r"(\d+) of (\d+) others", title)
        assert near is not None
        assert title.startswith(f"{method}: {best['cut']} chosen")
        assert (int(near[1]), int(near[2])) == (int((others["score"] >= best["low"]).sum()), len(others)), title


def looked_into(study: Any, runs: list[Run]) -> None:
    full = cutpoint.last_arms(study.arms(runs))[0]
    held_probes(cutpoint.probes(study, full))


def led(study: Any, runs: list[Run]) -> None:
    held_leads(breadth.leads(study.by_cell(runs), early=study.early), study.early)


SAID: Mapping[str, Callable[[Any, list[Run]], None]] = {
    "convergence": speed,
    "transfusion": speed,
    "hybrids": speed,
    "performance": performance,
    "representations": represented,
    "filters": filtered,
    "reuse": reused,
    "differential": cut,
    "cutpoint": looked_into,
    "breadth": led,
}


@pytest.mark.parametrize("name", [name for name in PUBLISHED.chapters or () if name in SAID])
def test_words_of_the_published_pages_are_those_of_their_records(name: str) -> None:
    study, runs = recorded(name)
    SAID[name](study, runs)
