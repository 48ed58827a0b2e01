"""Every claim that the study judges, as data: the papers' words, what is measured, the region, the plan.

Regions and margins were fixed from the papers' own numbers and the pilot's deviations, before the study's runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from transfusion_lib.papers.evidence import Arms, Counts, Measure, Pairs, Relation, Slope
from transfusion_lib.papers.rules import Region, above, below, within

TASK = 0.02
"""A margin for one task, in AUROC: the first paper calls gaps of 0.9 to 1.0 points comparable, and the standard error
over test cases alone is 0.005 to 0.01."""
LARGE = 0.015
"""A margin for a large data set, or for an average over tasks."""
POOLED = 0.01
"""The margin of non-inferiority for an average over tasks (R1)."""
FINAL = 0.005
"""Doubling the steps changes a final score by less."""
SLOPE = 0.01
"""AUROC for ten points of top-5 accuracy; the slope in the first paper's Table 1 is 0.004."""
SIMILARITY = 0.02
"""Of a similarity in [0, 1]. Figure 2: the large networks' gap is 0.03 to 0.05, the small ones' under 0.015."""
CLEAR = 0.05
""""Clearly positive" in Figure 3: the bars of the lowest stages stand 0.1 and more above 0, the rest within 0.05."""
PREDICTS = 0.5
"""Between the R^2 that the paper calls predictive (0.75 and 0.84) and those that it does not (0.32 and less)."""
GOOD_PART = 0.25
""""A good part" of a gain: a quarter is the least that deserves the words; the share itself is printed."""
MATCH = 0.2
""""Matches" in speed: slower by at most a fifth of the gain. Figure 8: 0.3 % of it for Slim."""
LOSS = 0.01
"""Deviation of the mean training loss over seeds: the median of the pilot's 83 arms of 150 and 300 steps. Its full gain
from pretraining was 0.04 to 0.13, so a quarter of 0.1 is what the plans of the speed claims shall find."""
TOP = 0.25
"""Similarity at the top over that at the bottom which still "approaches that of random features"."""

RAGHU, PENG = "Raghu et al. 2019", "Peng et al. 2023"
INFORMATIVE = (0.55, 0.995)
"""Mean AUROC outside says nothing: below nothing was learnt, above nothing can be gained."""

Scope = Literal["each", "pooled"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is planned for one part, and what its power is computed for."""

    effect: float
    """The smallest effect that the plan shall find; for "no change" and "no worse" the truth is no difference."""
    runs: int = 10
    """Of each arm, or as many of what ``counts`` says."""
    counts: str = "runs"
    sd: float = 0.006
    """Deviation of one arm over draws and seeds, as the pilot gave it with decay; of a slope, of a network's part."""
    images_se: float = 0.0
    """Standard error of the contrast from the test images that all draws share; more runs do not reduce it."""
    cases: int = 1
    """Cases that must all pass; with a pooled scope, averages."""
    tasks: int = 1
    """Over which each average goes."""
    tau: float = 0.003
    """Deviation of the effect between tasks, for averages."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One quantity that a claim is about, measured for one or more cases."""

    estimand: str
    """Which difference of which numbers, in words."""
    region: Region
    effect: str
    """A sentence on what was seen, with ``{number}``, ``{of}`` or ``{case}``, and ``{speed}`` for its measure."""
    asks: str
    """What the region stands for, as in "'no change'"."""
    plan: Plan | None = None
    """None for counts and premises."""
    contrasts: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: {"": {"value": 1.0}})
    """Weights of the arms; several by name where each case gives several numbers."""
    takes: type[Measure] = Arms
    """The kind of evidence."""
    scope: Scope = "each"
    """Whether each case must lie in the region, or for each method the average over tasks."""
    premise: bool = False
    """A case in which it does not hold (there is no gain to share, say) is left out."""
    by_estimate: bool = False
    """A premise that is read off the estimate; its interval is printed."""
    scores: bool = False
    """Whether its arms are AUROCs, so that saturation can be seen."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a paper and the rule that judges it."""

    id: str
    chapter: str
    """The chapter that shows the runs it is judged by."""
    words: str
    """The sentence, in the paper's words where it has one."""
    source: str
    """Paper and table, figure or section."""
    parts: Mapping[str, Part]
    cells: str
    """The cells of the study that it needs."""
    untested: str
    """What is missing where it is not tested here."""
    printed: str
    """The paper's own number."""

    @property
    def asked(self) -> dict[str, Part]:
        """The parts that decide, without the premises."""
        return {name: part for name, part in self.parts.items() if not part.premise}

    @property
    def estimand(self) -> str:
        """What is measured, in words."""
        return "; ".join(f"{_label(name, self)}{part.estimand}" for name, part in self.asked.items())

    @property
    def rule(self) -> str:
        """Where it must lie, in words."""
        asked = [
            f"{_label(name, self)}{part.region}{' on average over tasks' if part.scope == 'pooled' else ''}"
            for name, part in self.asked.items()
        ]
        given = [f"{part.estimand} {part.region}" for part in self.parts.values() if part.premise]
        return "; ".join(asked) + (f"; only where {' and '.join(given)}" if given else "")


def _label(name: str, claim: Claim) -> str:
    return f"{name}: " if len(claim.asked) > 1 else ""


def _minus(a: str, b: str) -> dict[str, dict[str, float]]:
    return {"": {a: 1.0, b: -1.0}}


_CHANGE = _minus("pretrained", "random")
_GAIN = _minus("random", "pretrained")
_FINAL = Part(
    estimand="the change of the final AUROC of random starts when the steps are doubled is",
    region=below(FINAL),
    effect="Doubling the steps changed the final AUROC of random starts {of} by {number}",
    asks="'final'",
    contrasts=_minus("random, doubled", "random"),
    premise=True,
    by_estimate=True,
)
_SPEED = Part(
    estimand="mean training loss over the run, random minus pretrained, is",
    region=above(0),
    effect="Random minus pretrained starts {of} came to {number} in {speed}",
    asks="'a gain to share'",
    contrasts=_GAIN,
    premise=True,
)
_NI = "'no worse'"


def _method(method: str) -> dict[str, float]:
    return {method: 1.0, "full": -1.0}


_CLAIMS = (
    Claim(
        id="T1",
        chapter="performance",
        words="Across both datasets and all models, transfer learning does not significantly affect performance.",
        source=f"{RAGHU}, section 3, Tables 1 to 3",
        parts={
            "final": _FINAL,
            "no change": Part(
                estimand="final test AUROC, pretrained minus random, at about 5,000 real images, each network and task",
                region=within(TASK),
                effect="Pretraining changed the final AUROC {of} by {number}",
                asks="'no change'",
                contrasts=_CHANGE,
                scores=True,
                plan=Plan(effect=0.0, images_se=0.004, cases=10),
            ),
            "shrinks with images": Part(
                estimand="that difference at 250 images minus that at 5,000, each network and task",
                region=above(0),
                effect="The effect of pretraining {of} with few images, less that with many, came to "
                "{number} in final AUROC",
                asks="'shrinks'",
                contrasts={
                    "": {"pretrained, few": 1.0, "random, few": -1.0, "pretrained, many": -1.0, "random, many": 1.0}
                },
                scores=True,
                plan=Plan(effect=0.03, sd=0.01, images_se=0.005, runs=8, cases=4),
            ),
            "no change with large data": Part(
                estimand="that difference at 20,000 and more synthetic images, each network",
                region=within(LARGE),
                effect="With a large data set pretraining changed the final AUROC {of} by {number}",
                asks="'no change'",
                contrasts=_CHANGE,
                scores=True,
                plan=Plan(effect=0.0, sd=0.004, images_se=0.001, runs=8, cases=2),
            ),
        },
        cells="E, H",
        untested="pretrained and random starts, trained until final, on real images and on a large set",
        printed="RETINA: 0.0 to +0.3 points (Table 1), with 5,000 images +0.1 to +2.4 (Table 3); CheXpert: "
        "\N{MINUS SIGN}2.0 to +4.9 points (Table 2)",
    ),
    Claim(
        id="T2",
        chapter="performance",
        words="The family of smaller lightweight convolutional networks performs comparably to standard ImageNet "
        "models.",
        source=f"{RAGHU}, section 3, Tables 1 and 2",
        parts={
            "final": _FINAL,
            "difference": Part(
                estimand="final test AUROC, the CBR that is best on validation minus ResNet-50 (and minus "
                "EfficientNet-Lite0), each task",
                region=above(-TASK),
                effect="The best CBR minus the ImageNet architecture came to {number} in final AUROC {of}",
                asks=_NI,
                contrasts=_minus("cbr", "imagenet"),
                scores=True,
                plan=Plan(effect=0.0, images_se=0.005, cases=4),
            ),
        },
        cells="E",
        untested="a large network as the paper means it (ResNet-50) beside the CBRs, trained until final",
        printed="RETINA: the best CBR is 0.2 points below ResNet-50 from random starts, 0.5 from transfer (Table 1)",
    ),
    Claim(
        id="T3",
        chapter="performance",
        words="ImageNet performance is not predictive of medical performance.",
        source=f"{RAGHU}, section 1, Table 1",
        parts={
            "slope": Part(
                estimand="slope of the final test AUROC on the source's top-5 accuracy, for ten points, over networks "
                "and lengths of the source's training, within tasks",
                region=below(SLOPE),
                effect="Ten points more of top-5 accuracy on the source changed the final AUROC by {number}",
                asks="'does not predict'",
                takes=Slope,
                plan=Plan(effect=0.004, runs=5, counts="networks", sd=0.003),
            )
        },
        cells="E, J",
        untested="five networks whose sources were trained for several lengths",
        printed="slope 0.004 for ten points over six networks (Table 1)",
    ),
    Claim(
        id="T4",
        chapter="performance",
        words="Transfer primarily helps the large models and smaller models again show little difference.",
        source=f"{RAGHU}, section 3.3, Table 3",
        parts={
            "interaction": Part(
                estimand="final test AUROC with 250 and with 1,000 images, (pretrained minus random) of ResNet-50 "
                "minus that of CBR-LargeT and minus that of CBR-Small, average over tasks",
                region=above(0),
                effect="The effect of pretraining on ResNet-50, less that on {case}, came to {number} in final AUROC",
                asks="'helps large models more'",
                contrasts={
                    "": {
                        "large, pretrained": 1.0,
                        "large, random": -1.0,
                        "small, pretrained": -1.0,
                        "small, random": 1.0,
                    }
                },
                scores=True,
                scope="pooled",
                plan=Plan(effect=0.03, sd=0.01, images_se=0.005, runs=8, cases=4, tasks=2),
            )
        },
        cells="H",
        untested="ResNet-50 and CBRs on 250 and on 1,000 images, a fresh subset for each draw",
        printed="+2.4 points for ResNet-50, +0.3 for CBR-LargeT, +0.1 for CBR-LargeW, with 5,000 images (Table 3)",
    ),
    Claim(
        id="T5",
        chapter="representations",
        words="Representations learned from random initialization are more similar to each other than those learned "
        "from pretrained weights for larger models, with less of a distinction for smaller models.",
        source=f"{RAGHU}, section 4, Figure 2",
        parts={
            "large": Part(
                estimand="floor-corrected CCA of the top two stages of ResNet-50, (random, pretrained) minus (random, "
                "random)",
                region=below(0),
                effect="Two starts of different kinds differed in similarity from two random ones {of} by {number}",
                asks="'less alike'",
                contrasts={"": {"random, pretrained": 1.0, "random, random": -1.0}},
                takes=Pairs,
                plan=Plan(effect=-0.03, sd=0.02, counts="networks of each start", cases=2),
            ),
            "small": Part(
                estimand="the same of CBR-Small",
                region=within(SIMILARITY),
                effect="Two starts of different kinds differed in similarity from two random ones {of} by {number}",
                asks="'hardly different'",
                contrasts={"": {"random, pretrained": 1.0, "random, random": -1.0}},
                takes=Pairs,
                plan=Plan(effect=0.0, sd=0.01, counts="networks of each start", cases=2),
            ),
        },
        cells="E",
        untested="ten random and ten pretrained networks of ResNet-50 and of CBR-Small, after recipe F",
        printed="gap 0.03 to 0.05 for ResNet and Inception, below 0.015 for CBRs (Figure 2)",
    ),
    Claim(
        id="T6",
        chapter="representations",
        words="The lowest layers are most similar to their initializations, and this is especially evident for "
        "ResNet-50.",
        source=f"{RAGHU}, section 4, Figure 3",
        parts={
            "trend": Part(
                estimand="slope over depth (0 lowest stage, 1 top) of the floor-corrected similarity before against "
                "after training, each network and start",
                region=below(0),
                effect="From the lowest stage to the top the similarity {of} changed by {number}",
                asks="'falls'",
                contrasts={"": {"slope": 1.0}},
                plan=Plan(effect=-0.1, sd=0.05, cases=10),
            ),
            "lowest stage": Part(
                estimand="floor-corrected similarity before against after training of the lowest stage, ResNet-50 "
                "minus CBR-Small, each start",
                region=above(0),
                effect="The similarity of ResNet-50's lowest stage to its start, less that of "
                "CBR-Small's, came to {number} {of}",
                asks="'closer in the large network'",
                contrasts=_minus("large", "small"),
                plan=Plan(effect=0.1, sd=0.05, cases=2),
            ),
        },
        cells="E",
        untested="similarity before against after training of ResNet-50 and of CBR-Small",
        printed="bars (Figure 3)",
    ),
    Claim(
        id="T7",
        chapter="representations",
        words="Feature reuse is mostly restricted to the bottom two layers, the only place where similarity with "
        "initialization is significantly higher for pretrained weights.",
        source=f"{RAGHU}, section 4, Figure 3",
        parts={
            "lowest two": Part(
                estimand="floor-corrected similarity before against after, pretrained minus random, in the lowest two "
                "groups of stages by stride, over training time",
                region=above(CLEAR),
                effect="The similarity of pretrained weights to their start {of}, less that of random "
                "ones, came to {number}",
                asks="'clearly higher'",
                contrasts=_CHANGE,
                plan=Plan(effect=0.1, sd=0.03, cases=4),
            ),
            "higher": Part(
                estimand="the same in every higher group",
                region=below(CLEAR),
                effect="The similarity of pretrained weights to their start {of}, less that of random "
                "ones, came to {number}",
                asks="'not clearly higher'",
                contrasts=_CHANGE,
                plan=Plan(effect=0.0, sd=0.03, cases=6),
            ),
        },
        cells="E",
        untested="similarity over training time of pretrained and of random starts",
        printed="bars (Figure 3)",
    ),
    Claim(
        id="T8",
        chapter="representations",
        words="Similarity at initialization is highly correlated with similarity at convergence for large models.",
        source=f"{RAGHU}, section 4, Figure 4",
        parts={
            "conv1 of the large": Part(
                estimand="R^2 over pairs of networks of CCA at initialisation with CCA after training, conv1 of "
                "ResNet-50, (random, random) and (random, pretrained)",
                region=above(PREDICTS),
                effect="Similarity at initialisation explained {number} of the variance of that after training {of}",
                asks="'predicts'",
                takes=Relation,
                plan=Plan(effect=0.8, runs=20, counts="networks", cases=2),
            ),
            "the rest": Part(
                estimand="the same for higher stages of ResNet-50 and all of CBR-Small, pooled",
                region=below(PREDICTS),
                effect="Similarity at initialisation explained {number} of the variance of that after training {of}",
                asks="'does not predict'",
                takes=Relation,
                plan=Plan(effect=0.1, runs=20, counts="networks", cases=2),
            ),
        },
        cells="E, F",
        untested="20 random and 10 pretrained networks of each kind",
        printed="R^2 0.84 and 0.75 at ResNet-50's conv1; 0.20 and 0.16 at CBR-Small's; 0.001 to 0.32 above (Figure 4)",
    ),
    Claim(
        id="T9",
        chapter="filters",
        words="The ResNet filters change much less than those of CBR-Small.",
        source=f"{RAGHU}, section 4, Figure 5",
        parts={
            "movement": Part(
                estimand="angle (and distance as functions) that conv1's filters move, CBR-Small minus ResNet-50, both "
                "7 x 7, each start, with Adam and with SGD",
                region=above(0),
                effect="The movement of CBR-Small's filters {of}, less that of ResNet-50's, came to {number}",
                asks="'less in the large network'",
                contrasts=_minus("small", "large"),
                plan=Plan(effect=0.05, sd=0.03, cases=8),
            )
        },
        cells="E",
        untested="filters of ResNet-50 and of CBR-Small, with Adam and with SGD",
        printed="pictures of filters (Figure 5)",
    ),
    Claim(
        id="T10",
        chapter="filters",
        words="CBR does not learn Gabor filters when trained from scratch, and also erases some of the pretrained "
        "Gabors.",
        source=f"{RAGHU}, section 4, Figure 5",
        parts={
            "none from scratch": Part(
                estimand="rise of the share of conv1's filters that are Gabors, from a random start to step 4,000",
                region=below(0.1),
                effect="Training from scratch changed the share of Gabor filters {of} by {number}",
                asks="'learns none'",
                contrasts=_minus("random, after", "random, before"),
                plan=Plan(effect=0.0, sd=0.04, runs=4),
            ),
            "erased": Part(
                estimand="fall of that share from pretrained weights to step 4,000",
                region=above(0),
                effect="The share of pretrained filters that are Gabors {of}, before less after "
                "training, came to {number}",
                asks="'erases some'",
                contrasts=_minus("pretrained, before", "pretrained, after"),
                plan=Plan(effect=0.15, sd=0.04, runs=4),
            ),
        },
        cells="F",
        untested="three or more long runs of CBR-Small from each start",
        printed="pictures of filters (Figure 5)",
    ),
    Claim(
        id="T11",
        chapter="convergence",
        words="We consistently observe that using pretrained weights results in faster convergence.",
        source=f"{RAGHU}, section 5, Figures 6 to 8",
        parts={
            "speed": Part(
                estimand="mean training loss over the run, pretrained minus random, each network and task",
                region=below(0),
                effect="Pretraining changed {speed} {of} by {number}",
                asks="'faster'",
                contrasts=_CHANGE,
                plan=Plan(effect=-0.04, sd=LOSS, cases=5),
            )
        },
        cells="D",
        untested="pretrained and random starts under recipe S",
        printed="ResNet-50: 8,008 steps to AUC 0.91 against 69,069 (Figure 7)",
    ),
    Claim(
        id="T12",
        chapter="convergence",
        words="Using only the scaling of the pretrained weights (Mean Var) helps with convergence speed.",
        source=f"{RAGHU}, section 5, Figure 6",
        parts={
            "gain": _SPEED,
            "a good part": Part(
                estimand=f"gain of Mean Var in mean training loss minus {GOOD_PART:g} of that of pretrained weights",
                region=above(0),
                effect="The gain of Mean Var {of}, less a quarter of that of pretrained weights, came to {number}",
                asks="'a good part'",
                contrasts={"": {"random": 1 - GOOD_PART, "mean_var": -1.0, "pretrained": GOOD_PART}},
                plan=Plan(effect=0.025, sd=LOSS, cases=5),
            ),
        },
        cells="D",
        untested="Mean Var, pretrained and random starts under recipe S",
        printed="curves (Figure 6)",
    ),
    Claim(
        id="T13",
        chapter="transfusion",
        words="Reusing the lowest layers leads to the greatest gain in convergence speed; just reusing conv1 gives the "
        "greatest marginal convergence speedup.",
        source=f"{RAGHU}, section 5, Figure 7",
        parts={
            "gain": _SPEED,
            "lowest": Part(
                estimand="gain in speed of pretrained weights up to block2 minus half of that of all",
                region=above(0),
                effect="The gain up to block2 {of}, less half of the full gain, came to {number}",
                asks="'more than half'",
                contrasts={"": {"random": 0.5, "block2": -1.0, "pretrained": 0.5}},
                plan=Plan(effect=0.025, sd=LOSS, cases=3),
            ),
            "conv1": Part(
                estimand="marginal gain in speed of conv1 minus that of each later stage",
                region=above(0),
                effect="The marginal gain of conv1, less that {of}, came to {number}",
                asks="'the greatest'",
                contrasts={
                    "block1": {"random": 1.0, "conv1": -2.0, "block1": 1.0},
                    "block2": {"random": 1.0, "conv1": -1.0, "block1": -1.0, "block2": 1.0},
                    "block3": {"random": 1.0, "conv1": -1.0, "block2": -1.0, "block3": 1.0},
                    "block4": {"random": 1.0, "conv1": -1.0, "block3": -1.0, "block4": 1.0},
                },
                plan=Plan(effect=0.025, sd=LOSS, cases=12),
            ),
        },
        cells="D",
        untested="starts that keep pretrained weights up to each stage, under recipe S",
        printed="steps to AUC 0.91: random 69,069, conv1 31,031, block1 15,215, block2 8,608, all 8,008 (Figure 7)",
    ),
    Claim(
        id="T14",
        chapter="hybrids",
        words="Slimming the top of the network in this way offers the same convergence and performance as transfer "
        "learning.",
        source=f"{RAGHU}, section 5, Figure 8",
        parts={
            "gain": _SPEED,
            "speed": Part(
                estimand=f"mean training loss of Slim minus full transfer minus {MATCH:g} of the gain of full transfer",
                region=below(0),
                effect="Slim minus full transfer {of}, less a fifth of the gain, came to {number} in {speed}",
                asks="'the same convergence'",
                contrasts={"": {"slim": 1.0, "pretrained": MATCH - 1.0, "random": -MATCH}},
                plan=Plan(effect=-0.02, sd=LOSS, cases=3),
            ),
            "performance": Part(
                estimand="final test AUROC, Slim minus full transfer",
                region=above(-TASK),
                effect="Slim differed in final AUROC from full transfer {of} by {number}",
                asks=_NI,
                contrasts=_minus("slim", "pretrained"),
                scores=True,
                plan=Plan(effect=0.0, images_se=0.004, cases=3),
            ),
        },
        cells="D",
        untested="Slim, pretrained and random starts of ResNet-50 and EfficientNet-Lite0",
        printed="Slim 8,208 steps to AUC 0.91, full transfer 8,008 (Figure 8)",
    ),
    Claim(
        id="T15",
        chapter="hybrids",
        words="Using synthetic Gabors for conv1 has the same effect as pretrained weights for conv1.",
        source=f"{RAGHU}, section 5, Figure 8",
        parts={
            "something to match": Part(
                estimand="mean training loss, random minus pretrained conv1 alone, is",
                region=above(0),
                effect="Random minus pretrained conv1 {of} came to {number} in {speed}",
                asks="'something to match'",
                contrasts=_minus("random", "conv1"),
                premise=True,
            ),
            "speed": Part(
                estimand=f"mean training loss with Gabors minus that with pretrained conv1 minus {MATCH:g} of conv1's "
                "gain",
                region=below(0),
                effect="Gabors minus pretrained conv1 {of}, less a fifth of its gain, came to {number} in {speed}",
                asks="'the same effect'",
                contrasts={"": {"gabor": 1.0, "conv1": MATCH - 1.0, "random": -MATCH}},
                plan=Plan(effect=-0.02, sd=LOSS, cases=3),
            ),
        },
        cells="D",
        untested="Gabors, pretrained conv1 and random starts of ResNet-50 and EfficientNet-Lite0",
        printed="Gabors 25,425 steps to AUC 0.91, pretrained conv1 31,031 (Figures 7 and 8)",
    ),
    Claim(
        id="R1",
        chapter="differential",
        words="Differential TL methods (TF, LWFT, and TTL) perform better or at least on par with FTL.",
        source=f"{PENG}, Table 1",
        parts={
            "difference": Part(
                estimand="final test AUROC, each method minus full fine-tuning, average over tasks",
                region=above(-POOLED),
                effect="{case} differed in final AUROC from full fine-tuning by {number}",
                asks=_NI,
                contrasts={name: _method(name) for name in ("TF", "LWFT", "TTL")},
                scope="pooled",
                scores=True,
                plan=Plan(effect=0.0, runs=8, images_se=0.003, cases=3, tasks=2),
            )
        },
        cells="C, G",
        untested="TF, LWFT, TTL and full fine-tuning, each with rates of its own",
        printed="the AUROCs of Table 1 are pictures in the text that we have",
    ),
    Claim(
        id="R2",
        chapter="differential",
        words="TTL is a clear winner in terms of both performance and inference complexity.",
        source=f"{PENG}, section 3.2, Tables 1 and 2",
        parts={
            "smaller": Part(
                estimand="parameters in millions, TTL minus each other method",
                region=below(0),
                effect="TTL differs in parameters (M) from {case} by {number}",
                asks="'smaller'",
                contrasts=_minus("TTL", "other"),
                takes=Counts,
            ),
            "faster": Part(
                estimand="time of one forward pass in ms, TTL minus each other method",
                region=below(0),
                effect="TTL differs in time (ms) from {case} by {number}",
                asks="'faster'",
                contrasts=_minus("TTL", "other"),
                takes=Arms,
                plan=Plan(effect=-0.2, sd=0.05, cases=3),
            ),
            "no worse": Part(
                estimand="final test AUROC, TTL minus full fine-tuning, average over tasks",
                region=above(-POOLED),
                effect="TTL differed in final AUROC from full fine-tuning {of} by {number}",
                asks=_NI,
                contrasts=_minus("TTL", "full"),
                scope="pooled",
                scores=True,
                plan=Plan(effect=0.0, runs=8, images_se=0.003, tasks=2),
            ),
            "best": Part(
                estimand="final test AUROC, TTL minus each other method, average over tasks",
                region=above(0),
                effect="TTL minus {case} came to {number} in final AUROC",
                asks="'best'",
                contrasts={name: {"TTL": 1.0, name: -1.0} for name in ("full", "TF", "LWFT")},
                scope="pooled",
                scores=True,
                plan=Plan(effect=0.01, runs=8, images_se=0.003, cases=3, tasks=2),
            ),
        },
        cells="C, G",
        untested="TTL beside TF, LWFT and full fine-tuning: scores, parameters, times",
        printed="ResNet-50, COVID-19: 6.31 M parameters and 2.97 ms; full fine-tuning 23.5 M and 3.59 ms (Table 1)",
    ),
    Claim(
        id="R3",
        chapter="differential",
        words="The layer-wise search in the second stage further boosts their performance.",
        source=f"{PENG}, section 3.2, Table 1",
        parts={
            "difference": Part(
                estimand="final test AUROC, cut of the second stage minus that of the first, both chosen by validation "
                "loss on a data split of their own, average over tasks",
                region=above(0),
                effect="The second stage of the search changed the final AUROC {of} by {number}",
                asks="'boosts'",
                contrasts=_minus("second stage", "first stage"),
                scores=True,
                scope="pooled",
                plan=Plan(effect=0.01, runs=8, images_se=0.003, cases=1, tasks=2),
            )
        },
        cells="C",
        untested="a search of blocks and then of layers, nested",
        printed="the AUROCs of Table 1 are pictures in the text that we have",
    ),
    Claim(
        id="R4",
        chapter="cutpoint",
        words="The correlation monotonically decreases from bottom to top layers; for features in block4 it approaches "
        "that of random features.",
        source=f"{PENG}, section 3.3, Figure 4 i",
        parts={
            "trend": Part(
                estimand="slope over depth of the floor-corrected SVCCA before against after fine-tuning, each task",
                region=below(0),
                effect="From bottom to top the similarity {of} changed by {number}",
                asks="'decreases'",
                contrasts={"": {"slope": 1.0}},
                plan=Plan(effect=-0.1, sd=0.05, runs=8, cases=2),
            ),
            "top": Part(
                estimand=f"that similarity in the top block minus {TOP:g} of that in the bottom block",
                region=below(0),
                effect="The similarity of the top block minus a quarter of the bottom's came to {number} {of}",
                asks="'approaches random'",
                contrasts={"": {"top": 1.0, "bottom": -TOP}},
                plan=Plan(effect=-0.05, sd=0.03, runs=8, cases=2),
            ),
        },
        cells="C",
        untested="SVCCA before against after full fine-tuning",
        printed="curves (Figure 4 i)",
    ),
    Claim(
        id="R5",
        chapter="cutpoint",
        words="Features in top layers become more correlated with bottom layers after TL.",
        source=f"{PENG}, section 3.3, Figure 4 ii",
        parts={
            "change": Part(
                estimand="floor-corrected SVCCA of the top block with block2 and with block3, after minus before, "
                "average over tasks",
                region=above(0),
                effect="Fine-tuning changed the similarity of the top block to lower ones {of} by {number}",
                asks="'more correlated'",
                contrasts=_minus("after", "before"),
                scope="pooled",
                plan=Plan(effect=0.05, sd=0.03, runs=8, cases=2, tasks=2),
            )
        },
        cells="C, G",
        untested="SVCCA between blocks before and after fine-tuning",
        printed="curves (Figure 4 ii)",
    ),
    Claim(
        id="R6",
        chapter="cutpoint",
        words="When we train a classifier on intermediate features after FTL, the performance peaks at block3, and "
        "starts to degrade afterward.",
        source=f"{PENG}, section 3.3",
        parts={
            "difference": Part(
                estimand="test AUROC of a classifier on the lower block that is best on validation minus one on the "
                "top block, average over networks and tasks",
                region=above(0),
                effect="A classifier on a lower block {of}, less one on the top block, came to {number}",
                asks="'peaks below the top'",
                contrasts=_minus("lower", "top"),
                scores=True,
                scope="pooled",
                plan=Plan(effect=0.01, images_se=0.002, runs=8, cases=1, tasks=2),
            )
        },
        cells="C, G",
        untested="classifiers on the features of each block",
        printed="peak at block3 of ResNet-50 (section 3.3)",
    ),
    Claim(
        id="R7",
        chapter="cutpoint",
        words="This strategy suggests the truncation point which yields the same result as the two-stage search "
        "strategy.",
        source=f"{PENG}, appendix C.1, Figure 7",
        parts={
            "agreement": Part(
                estimand="rank correlation over cut points between the SVCCA rule and the searched score, mean over "
                "searches (chance 0)",
                region=above(0),
                effect="The rule ordered the cut points as the search did with a rank correlation of {number}",
                asks="'agrees more than chance'",
                contrasts={"": {"rank correlation": 1.0}},
                plan=Plan(effect=0.3, sd=0.35, runs=12, counts="searches"),
            )
        },
        cells="C",
        untested="twelve searches with the SVCCA of each cut point",
        printed="2 of 2 searches agree (Figure 7)",
    ),
    Claim(
        id="R8",
        chapter="ablations",
        words="We observe no significant gap between the two settings in terms of peak performance.",
        source=f"{PENG}, appendix B.2, Figure 6",
        parts={
            "difference": Part(
                estimand="final test AUROC, TTL pooled minus not pooled, rates of both tuned, each task",
                region=above(-TASK),
                effect="Pooling before the head changed the final AUROC {of} by {number}",
                asks=_NI,
                contrasts=_minus("pooled", "not pooled"),
                scores=True,
                plan=Plan(effect=0.0, images_se=0.004, runs=8, cases=2),
            )
        },
        cells="C",
        untested="TTL with and without pooling, rates of both tuned",
        printed="curves (Figure 6)",
    ),
    Claim(
        id="R9",
        chapter="ablations",
        words="TTL uniformly improves the model performance: large, mid and small size models.",
        source=f"{PENG}, appendix B.1, Table 3",
        parts={
            "helps": Part(
                estimand="final test AUROC, TTL minus full fine-tuning, each of ResNet-50, EfficientNet-Lite0 and "
                "CBR-Small, average over tasks",
                region=above(0),
                effect="TTL changed the final AUROC of {case} by {number}",
                asks="'improves'",
                contrasts={name: {f"TTL, {name}": 1.0, f"full, {name}": -1.0} for name in ("large", "middle", "small")},
                scope="pooled",
                scores=True,
                plan=Plan(effect=0.01, images_se=0.003, runs=8, cases=3, tasks=2),
            ),
            "alike": Part(
                estimand="differences of these effects between architectures, average over tasks",
                region=within(TASK),
                effect="The effects of TTL differ between architectures ({case}) by {number}",
                asks="'alike'",
                contrasts={
                    f"{a} and {b}": {f"TTL, {a}": 1.0, f"full, {a}": -1.0, f"TTL, {b}": -1.0, f"full, {b}": 1.0}
                    for a, b in (("large", "middle"), ("large", "small"), ("middle", "small"))
                },
                scope="pooled",
                scores=True,
                plan=Plan(effect=0.0, images_se=0.004, runs=8, cases=3, tasks=2),
            ),
        },
        cells="C, G",
        untested="TTL and full fine-tuning of three architectures",
        printed="the AUROCs of Table 3 are pictures in the text that we have",
    ),
    Claim(
        id="R10",
        chapter="ablations",
        words="Medical-to-medical TL does not do better than TL from natural images.",
        source=f"{PENG}, appendix C.2",
        parts={
            "source": Part(
                estimand="final test AUROC, medical source minus none, is",
                region=above(0),
                effect="The medical source changed the final AUROC {of} by {number}",
                asks="'a source at all'",
                contrasts=_minus("medical", "none"),
                premise=True,
            ),
            "difference": Part(
                estimand="final test AUROC, medical minus natural source of as many images, each source and target",
                region=below(TASK),
                effect="The medical source differed in final AUROC from the natural one {of} by {number}",
                asks="'no better'",
                contrasts=_minus("medical", "natural"),
                scores=True,
                plan=Plan(effect=0.0, images_se=0.004, runs=8, cases=6),
            ),
        },
        cells="I",
        untested="sources of equal size; the paper's own version (a source of 224,000 x-rays) cannot be tested here",
        printed="a comparison of pictures (Figure 8 with Table 1)",
    ),
    Claim(
        id="R11",
        chapter="segmentation",
        words="Truncating a U-Net keeps or improves segmentation.",
        source=f"{PENG}, section 4, Table 2",
        parts={
            "difference": Part(
                estimand="test Dice, U-Net cut where a nested validation is best minus the whole one",
                region=above(-TASK),
                effect="Truncating the U-Net changed the test Dice {of} by {number}",
                asks="'keeps or improves'",
                contrasts=_minus("cut", "whole"),
                plan=Plan(effect=0.0, sd=0.008, images_se=0.002, runs=12, cases=1),
            )
        },
        cells="B",
        untested="U-Nets, whole and cut, with decay and a nested choice",
        printed="best after block 2 and better than the whole network (Table 2; its Dice coefficients are pictures in "
        "the text that we have); the rule asks neither for this cut nor for a gain",
    ),
    Claim(
        id="N1",
        chapter="ablations",
        words="Low input resolution lengthens the top part of a network that adds nothing, so truncation gains less at "
        "128 (224) px than at 64.",
        source="Harun et al. 2024 (tunnel effect); ours",
        parts={
            "interaction": Part(
                estimand="final test AUROC, (TTL minus full fine-tuning) at 64 px minus that at 128 px, average over "
                "networks and tasks",
                region=above(0),
                effect="The gain by truncation {of} at 64 px, less that at 128 px, came to {number}",
                asks="'gains less at the larger size'",
                contrasts={"": {"TTL, 64": 1.0, "full, 64": -1.0, "TTL, 128": -1.0, "full, 128": 1.0}},
                scores=True,
                scope="pooled",
                plan=Plan(effect=0.01, images_se=0.004, runs=8, cases=1, tasks=2),
            )
        },
        cells="C, G",
        untested="truncated and whole networks at 64 and at 128 px",
        printed="no number of this claim in either paper",
    ),
    Claim(
        id="N2",
        chapter="cutpoint",
        words="Similarity before and after fine-tuning does not correlate with the gain from pretraining.",
        source="Juodelyte et al. 2023; ours",
        parts={
            "correlation": Part(
                estimand="R^2 over networks and tasks of the similarity before against after with the gain",
                region=below(PREDICTS),
                effect="Similarity before against after explained {number} of the variance of the gain",
                asks="'does not predict'",
                takes=Relation,
                plan=Plan(effect=0.1, runs=24, counts="points"),
            )
        },
        cells="C, E",
        untested="similarities and gains of several networks and tasks",
        printed="no correlation in their records of six data sets",
    ),
    Claim(
        id="N3",
        chapter="convergence",
        words="A start that keeps the covariance of pretrained filters beats one that keeps their mean and variance.",
        source="Trockman et al. 2023; ours",
        parts={
            "speed": Part(
                estimand="mean training loss over the run, covariance start minus Mean Var, average over networks and "
                "tasks",
                region=below(0),
                effect="Keeping the covariance changed {speed} {of} by {number}",
                asks="'beats'",
                contrasts=_minus("covariance", "mean_var"),
                scope="pooled",
                plan=Plan(effect=-0.025, sd=LOSS, cases=1, tasks=2),
            )
        },
        cells="D",
        untested="covariance and Mean Var starts under recipe S",
        printed="no number of this claim in either paper",
    ),
)

CLAIMS: dict[str, Claim] = {claim.id: claim for claim in _CLAIMS}
"""Every claim by its id: T1 to T15 of the first paper, R1 to R11 of the second, N1 to N3 of later work."""
