"""The papers' own numbers as evidence, so that every rule can be tried on them before it judges ours.

AUC here is a fraction of 1. Where a paper prints no deviation its numbers are compared as they stand.
"""

from transfusion_lib.papers import rethinking
from transfusion_lib.papers import transfusion as paper
from transfusion_lib.papers.evidence import Case, Counts, Evidence, Printed, Slope

REPETITIONS = 3
"""Of both papers."""
CBRS = ("CBR-LargeT", "CBR-LargeW", "CBR-Small", "CBR-Tiny")
IMAGENET = ("ResNet-50", "Inception-v3")
RETINA = "RETINA"


def printed(claim: str) -> Evidence | None:
    """Return what a paper prints of its own claim, as far as our rule can read it; None where it can read nothing.

    Of TruncatedTL's tables the text that we have holds parameters, multiply-adds and times; the accuracies are
    pictures, so R1, R3 and most others have no numbers here.
    """
    made = _MADE.get(claim)
    if made is None:
        return None
    if claim in _IN_STEPS:
        return Evidence(parts=made(), printed=True, speed=f"the time to an AUC of {paper.THRESHOLD:g}", unit="steps")
    return Evidence(parts=made(), printed=True)


def chexpert() -> Evidence:
    """Return Table 2, claim T1's other set: five pathologies of CheXpert, deviations of a point and more."""
    cases = [
        Case(
            network=network,
            task=pathology,
            measure=Printed(
                arms={
                    "random": _arm(paper.TABLE_2[network, "random"][i]),
                    "pretrained": _arm(paper.TABLE_2[network, "transfer"][i]),
                }
            ),
        )
        for network in ("ResNet-50", *CBRS)
        for i, pathology in enumerate(paper.PATHOLOGIES)
    ]
    return Evidence(parts={"no change with large data": cases}, printed=True)


def small_retina() -> Evidence:
    """Return Table 3, claim T1 with 5,000 images, beside Table 1 with all."""
    few = [Case(network=name, task=RETINA, measure=_table_3(name)) for name in paper.TABLE_3]
    shrinks = []
    for name, (random, pretrained) in paper.TABLE_3.items():
        row = paper.TABLE_1[name]
        values = {"pretrained, few": pretrained, "random, few": random}
        values |= {"pretrained, many": row.transfer.mean, "random, many": row.random.mean}
        shrinks.append(Case(network=name, task=RETINA, measure=_fractions(values)))
    return Evidence(parts={"no change": few, "shrinks with images": shrinks}, printed=True)


def _t1() -> dict[str, list[Case]]:
    cases = [
        Case(
            network=name,
            task=RETINA,
            measure=Printed(arms={"random": _arm(row.random), "pretrained": _arm(row.transfer)}),
        )
        for name, row in paper.TABLE_1.items()
    ]
    return {"no change with large data": cases}


def _t2() -> dict[str, list[Case]]:
    cases = []
    for start in ("random", "transfer"):
        of = {name: getattr(row, start) for name, row in paper.TABLE_1.items()}
        best = max(CBRS, key=lambda name: of[name].mean)
        cases += [
            Case(
                network=name,
                task=RETINA,
                what=f"{start} starts",
                measure=Printed(arms={"cbr": _arm(of[best]), "imagenet": _arm(of[name])}),
            )
            for name in IMAGENET
        ]
    return {"difference": cases}


def _t3() -> dict[str, list[Case]]:
    rows = paper.TABLE_1.values()
    slope = Slope(
        x=[row.imagenet_top5 / 10 for row in rows],
        y=[row.transfer.mean / 100 for row in rows],
        networks=list(paper.TABLE_1),
        tasks=[RETINA] * len(paper.TABLE_1),
    )
    return {"slope": [Case(measure=slope)]}


def _t4() -> dict[str, list[Case]]:
    large = paper.TABLE_3["ResNet-50"]
    cases = []
    for name in ("CBR-LargeT", "CBR-LargeW"):
        small = paper.TABLE_3[name]
        values = {"large, random": large[0], "large, pretrained": large[1]}
        values |= {"small, random": small[0], "small, pretrained": small[1]}
        cases.append(Case(what=name, task=RETINA, measure=_fractions(values)))
    return {"interaction": cases}


def _t8() -> dict[str, list[Case]]:
    conv1 = {"(random, random)": 0.838, "(random, pretrained)": 0.752}
    rest = {
        "CBR-Small conv1, (random, random)": 0.197,
        "CBR-Small conv1, (random, pretrained)": 0.160,
        "ResNet-50 higher, (random, random)": 0.008,
        "ResNet-50 higher, (random, pretrained)": 0.001,
        "CBR-Small higher, (random, random)": 0.079,
        "CBR-Small higher, (random, pretrained)": 0.322,
    }
    return {
        name: [Case(what=what, measure=Counts(values={"value": value})) for what, value in those.items()]
        for name, those in (("conv1 of the large", conv1), ("the rest", rest))
    }


def _steps(name: str, **also: str) -> Case:
    """Return steps to the threshold of Figure 8's network, under the names that the rules use."""
    found = paper.FIGURE_8[name]
    return Case(network=name, task=RETINA, measure=Counts(values={arm: float(found[key]) for arm, key in also.items()}))


def _t11() -> dict[str, list[Case]]:
    return {"speed": [_steps(name, random="random", pretrained="pretrained") for name in paper.FIGURE_8]}


def _t13() -> dict[str, list[Case]]:
    steps = Counts(values={name: float(step) for name, step in paper.FIGURE_7.items()})
    case = Case(network="ResNet-50", task=RETINA, measure=steps)
    return {"gain": [case], "lowest": [case], "conv1": [case]}


def _t14() -> dict[str, list[Case]]:
    case = _steps("ResNet-50", random="random", pretrained="pretrained", slim="Slim")
    return {"gain": [case], "speed": [case]}


def _t15() -> dict[str, list[Case]]:
    case = _steps("ResNet-50", random="random", conv1="conv1", gabor="Gabor conv1")
    return {"something to match": [case], "speed": [case]}


def _r2() -> dict[str, list[Case]]:
    by_method = {row.method: row for row in rethinking.TABLE_1}
    ttl, others = by_method["TTL-2"], ("FTL", "TF-1", "LWFT-2")
    task = "COVID-19 x-rays"

    def against(own: float, column: str) -> list[Case]:
        return [
            Case(what=name, task=task, measure=Counts(values={"TTL": own, "other": getattr(by_method[name], column)}))
            for name in others
        ]

    return {
        "smaller": against(ttl.parameters_m, "parameters_m"),
        "faster": against(ttl.latency_ms, "latency_ms"),
    }


_MADE = {
    "T1": _t1,
    "T2": _t2,
    "T3": _t3,
    "T4": _t4,
    "T8": _t8,
    "T11": _t11,
    "T13": _t13,
    "T14": _t14,
    "T15": _t15,
    "R2": _r2,
}


_IN_STEPS = {"T11", "T13", "T14", "T15"}


def _arm(measured: paper.Measured) -> tuple[float, float, int]:
    """Return mean, deviation and repetitions as fractions; the paper does not say which deviation it prints."""
    return measured.mean / 100, (measured.deviation or 0.0) / 100, REPETITIONS


def _table_3(name: str) -> Counts:
    random, pretrained = paper.TABLE_3[name]
    return _fractions({"random": random, "pretrained": pretrained})


def _fractions(values: dict[str, float]) -> Counts:
    return Counts(values={name: value / 100 for name, value in values.items()})
