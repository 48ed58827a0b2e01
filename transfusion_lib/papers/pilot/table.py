"""All claims as data. Regions and margins were set from the papers' own numbers before any run of ours was read."""

from transfusion_lib.papers.pilot.rules import Claim, Part, above, below, within

# One AUC point: the papers call differences of this size no difference (Transfusion, Table 1: 96.7 against 95.8 is
# "comparable"), and three repetitions on CheXpert vary by as much (Table 2: deviations of 0.1 to 1.8 points).
AUC = 0.01
# Across architectures: the paper calls gaps of 0.9 and 1.0 points comparable, so the margin must exceed them.
AUC_ACROSS = 0.02
# Of a similarity in [0, 1]. Figure 2: the large networks' gap is 0.03 to 0.05, the small ones' under 0.015.
SIMILARITY = 0.02
# "Clearly positive" in Figure 3: the bars of the lowest stages stand 0.1 and more above 0, the rest within 0.05.
CLEAR = 0.05
# "A good part": a quarter is the least that deserves the words; the share itself and its interval are in the chapter.
GOOD_PART = 0.25
# "Matches" in speed: slower by at most a fifth of what full transfer gains. Figure 8: 0.3 % of it for Slim.
MATCH = 0.2
# Between the R^2 that the paper calls predictive (0.75 and 0.84) and those that it does not (0.32 and less).
PREDICTS = 0.5

RAGHU, PENG = "Raghu et al. 2019", "Peng et al. 2023"

_GAIN = "mean steps to the threshold (restricted to the last step), random minus"
_SAVED = "the number of steps that pretrained weights save"
_PAIRS = "CCA of (random, pretrained) minus that of (random, random) in the two highest stages"
_KEPT = "similarity to the start, pretrained minus random,"
_R2 = "R² of similarity at the start with similarity after training"
_CORRECTED = "similarity above chance, (s - floor) / (1 - floor), of a stage before against after training"

_CLAIMS = (
    Claim(
        id="T1",
        statement="Transfer does not significantly change final performance with enough data.",
        source=f"{RAGHU}, Tables 1 and 2",
        chapter="performance",
        parts={
            "difference": Part(
                "final test AUROC, pretrained minus random, per network and task",
                within(AUC),
                said="the change of the final AUROC by pretraining",
            )
        },
        needs=("scores", "rises"),
    ),
    Claim(
        id="T2",
        statement="Small CBR models perform comparably to ImageNet architectures.",
        source=f"{RAGHU}, Tables 1 and 2",
        chapter="performance",
        parts={
            "difference": Part(
                "final test AUROC, CBR minus ImageNet architecture from the same start, per pair",
                above(-AUC_ACROSS),
                said="the final AUROC of the first network minus that of the second",
            )
        },
        needs=("scores", "rises"),
    ),
    Claim(
        id="T3",
        statement="ImageNet accuracy does not predict medical performance.",
        source=f"{RAGHU}, Table 1",
        chapter="performance",
        # Half of the way to a perfect order: with six networks a weaker relation could not be told from none.
        parts={
            "correlation": Part(
                "Spearman's rank correlation over networks, accuracy on the source task with final test AUROC",
                below(0.5),
                said="the rank correlation of accuracy on the source task with the final AUROC",
            )
        },
        needs=("scores", "rises"),
        takes="four networks pretrained on one source task, whose accuracies can be ranked",
    ),
    Claim(
        id="T4",
        statement="With little data transfer helps large models more than small ones.",
        source=f"{RAGHU}, Table 3",
        chapter="performance",
        parts={
            "interaction": Part(
                "final test AUROC with little data: (pretrained minus random) of an ImageNet architecture minus that "
                "of a small one, per pair",
                above(0),
                said="what pretraining adds to the AUROC of the first network minus what it adds to the second's",
            )
        },
        needs=("scores", "rises"),
    ),
    Claim(
        id="T5",
        statement="In large models, higher-layer representations from pretrained and from random initialisation are "
        "less alike than two random ones; in small models hardly.",
        source=f"{RAGHU}, Figure 2",
        chapter="representations",
        parts={
            "large": Part(
                "CCA of the two highest stages, (random, pretrained) minus (random, random), per large network",
                below(0),
                said=_PAIRS,
            ),
            "small": Part("the same, per small network", within(SIMILARITY), said=_PAIRS),
        },
        needs=("floors",),
    ),
    Claim(
        id="T6",
        statement="Lower layers stay closest to their initialisation, most of all in large models.",
        source=f"{RAGHU}, Figure 3",
        chapter="representations",
        # Corrected for chance: the floor rises with the channels, which alone would lift the higher stages.
        parts={
            "trend": Part(
                f"slope over depth (0 first stage, 1 last) of the {_CORRECTED}, per network and start",
                below(0),
                said="the slope over depth of a stage's similarity to its start",
            ),
            "large": Part(
                "the same slope, large network minus small, per pair",
                below(0),
                said="the slope over depth of a stage's similarity to its start, first network minus second,",
            ),
        },
        needs=("floors",),
    ),
    Claim(
        id="T7",
        statement="Pretrained minus random similarity is clearly positive only in the lowest two stages.",
        source=f"{RAGHU}, Figure 3",
        chapter="representations",
        parts={
            "lowest": Part(
                f"{_CORRECTED}, pretrained minus random, in each of the lowest two stages", above(CLEAR), said=_KEPT
            ),
            "higher": Part("the same in each higher stage", below(CLEAR), said=_KEPT),
        },
        needs=("floors",),
    ),
    Claim(
        id="T8",
        statement="In large models similarity at initialisation predicts similarity after training, for conv1; not "
        "for higher layers nor small models.",
        source=f"{RAGHU}, Figure 4",
        chapter="representations",
        parts={
            "conv1": Part(
                "R^2 over pairs of networks of CCA at initialisation with CCA after training, conv1 of a large "
                "network, (random, random) and (random, pretrained)",
                above(PREDICTS),
                said=_R2,
                plain=True,
            ),
            "others": Part(
                "the same for the higher stages of that architecture and for all stages of a small one",
                below(PREDICTS),
                said=_R2,
                plain=True,
            ),
        },
        needs=("floors",),
    ),
    Claim(
        id="T9",
        statement="conv1 filters of large models move less than those of small models.",
        source=f"{RAGHU}, Figure 5",
        chapter="filters",
        parts={
            "movement": Part(
                "distance that conv1's weights travel relative to their first norm, small network minus large, per "
                "start and pair",
                above(0),
                said="how far conv1 moves relative to its first norm, first network minus second,",
            )
        },
    ),
    Claim(
        id="T10",
        statement="CBR-Small learns no Gabor filters from scratch and erases pretrained ones.",
        source=f"{RAGHU}, Figure 5",
        chapter="filters",
        # A Gabor filter is one whose fit beats 95 % of random filters of its size, so chance gives a share of 0.05.
        parts={
            "pretrained": Part(
                "share of conv1's filters that are Gabors, pretrained before training (an exact count)",
                above(0.1),
                presupposed=True,
                said="the share of Gabors among the pretrained filters",
                plain=True,
            ),
            "scratch": Part(
                "rise of that share from random initialisation to the end of training",
                below(0.1),
                said="the change of the share of Gabors by training from scratch",
            ),
            "erased": Part(
                "half of the pretrained share before training minus the share after",
                above(0),
                said="half of the share of Gabors before training minus the share after",
            ),
        },
    ),
    Claim(
        id="T11",
        statement="Transfer converges faster than random.",
        source=f"{RAGHU}, Figures 6 to 8",
        chapter="convergence",
        parts={"speed_up": Part(f"{_GAIN} pretrained, per ImageNet architecture", above(0), said=_SAVED)},
        needs=("scores", "arrivals"),
    ),
    Claim(
        id="T12",
        statement="Mean Var alone captures a good part of that speed-up.",
        source=f"{RAGHU}, Figure 6",
        chapter="convergence",
        # A contrast instead of a ratio: its interval is exact where the speed-up is uncertain (Fieller).
        parts={
            "speed_up": Part(f"{_GAIN} pretrained, per ImageNet architecture", above(0), presupposed=True, said=_SAVED),
            "good_part": Part(
                f"the speed-up of Mean Var minus {GOOD_PART:g} of that of pretrained, in steps, per architecture",
                above(0),
                said="the number of steps that Mean Var saves minus a quarter of those that pretrained weights save",
            ),
        },
        needs=("scores", "arrivals"),
        shares=True,
    ),
    Claim(
        id="T13",
        statement="Transfusing the lowest stages gives the greatest gain in speed; conv1 alone the greatest marginal "
        "gain.",
        source=f"{RAGHU}, Figure 7",
        chapter="transfusion",
        parts={
            "speed_up": Part(f"{_GAIN} full transfer", above(0), presupposed=True, said=_SAVED),
            "lowest": Part(
                "the speed-up of transfusing up to block2 minus half of that of full transfer, in steps",
                above(0),
                said="the number of steps that the stages up to block2 save minus half of what full transfer saves",
            ),
            "conv1": Part(
                "the marginal speed-up of conv1 minus that of each other stage, in steps, per other stage",
                above(0),
                said="the number of steps that conv1 saves minus those that this further stage saves",
            ),
        },
        needs=("scores", "arrivals"),
        shares=True,
    ),
    Claim(
        id="T14",
        statement="A Slim network with pretrained weights up to block2 matches full transfer in convergence and "
        "performance.",
        source=f"{RAGHU}, Figure 8",
        chapter="hybrids",
        parts={
            "speed_up": Part(f"{_GAIN} full transfer", above(0), presupposed=True, said=_SAVED),
            "speed": Part(
                f"mean steps of Slim minus those of full transfer minus {MATCH:g} of the speed-up of full transfer",
                below(0),
                said="the number of steps by which Slim is later than full transfer, less a fifth of what that saves,",
            ),
            "performance": Part(
                "final test AUROC, Slim minus full transfer",
                above(-AUC),
                said="the final AUROC of Slim minus that of full transfer",
            ),
        },
        needs=("scores", "arrivals"),
        shares=True,
    ),
    Claim(
        id="T15",
        statement="Synthetic Gabors in conv1 match pretrained conv1.",
        source=f"{RAGHU}, Figure 8",
        chapter="hybrids",
        parts={
            "speed_up": Part(
                f"{_GAIN} pretrained conv1 alone",
                above(0),
                presupposed=True,
                said="the number of steps that a pretrained conv1 saves",
            ),
            "speed": Part(
                f"mean steps with Gabors minus those with pretrained conv1 minus {MATCH:g} of the speed-up of "
                "pretrained conv1",
                below(0),
                said="the number of steps by which Gabors are later than a pretrained conv1, less a fifth of its gain,",
            ),
        },
        needs=("scores", "arrivals"),
        shares=True,
    ),
    Claim(
        id="R1",
        statement="Differential transfer (TF, LWFT, TTL) is at least as good as full fine-tuning.",
        source=f"{PENG}, Tables 1 and 2",
        chapter="differential",
        parts={
            "difference": Part(
                "final test AUROC, each method minus full fine-tuning, per task",
                above(-AUC),
                said="the final AUROC minus that of full fine-tuning",
            )
        },
        needs=("scores",),
    ),
    Claim(
        id="R2",
        statement="TTL is best, and smallest and fastest.",
        source=f"{PENG}, Tables 1 and 2",
        chapter="differential",
        parts={
            "best": Part(
                "final test AUROC, TTL minus each other method, per task",
                above(0),
                said="the final AUROC of TTL minus that of the other method",
            ),
            "smallest": Part(
                "parameters, TTL minus each other method",
                below(0),
                said="the number of parameters of TTL minus that of the other method",
            ),
            "fastest": Part(
                "latency in ms, TTL minus each other method",
                below(0),
                said="the latency in ms of TTL minus that of the other method",
            ),
        },
        needs=("scores",),
    ),
    Claim(
        id="R3",
        statement="The layer-wise second stage of the search improves on block cut-offs.",
        source=f"{PENG}, Tables 1 and 2",
        chapter="differential",
        parts={
            "difference": Part(
                "final test AUROC, TTL-2 minus TTL-1, per task",
                above(0),
                said="the final AUROC after the second stage minus that after the first",
            )
        },
        needs=("scores",),
    ),
    Claim(
        id="R4",
        statement="Similarity before/after falls from bottom to top; at the top it approaches that of random features.",
        source=f"{PENG}, Figure 4 i",
        chapter="cutpoint",
        parts={
            "trend": Part(
                f"slope over depth (0 first block, 1 last) of the {_CORRECTED} (SVCCA)",
                below(0),
                said="the slope over depth of a block's similarity to its start",
            ),
            "top": Part(
                f"{_CORRECTED} (SVCCA) in the top block",
                below(0.1),
                said="the similarity of the top block to its start",
                plain=True,
            ),
        },
        needs=("floors",),
    ),
    Claim(
        id="R5",
        statement="After fine-tuning, top blocks become more like lower blocks.",
        source=f"{PENG}, Figure 4 ii",
        chapter="cutpoint",
        parts={
            "change": Part(
                "SVCCA of the top block with block2 and with block3, after minus before",
                above(0),
                said="the change of SVCCA by fine-tuning",
            )
        },
        needs=("floors",),
    ),
    Claim(
        id="R6",
        statement="A classifier on intermediate features peaks below the top block.",
        source=f"{PENG}, section 3.3",
        chapter="cutpoint",
        # The lower block is chosen on the validation set: the best of several on the test set would win by luck.
        parts={
            "difference": Part(
                "test AUROC of a classifier on the lower block that is best on the validation set minus one on the "
                "top block",
                above(0),
                said="the AUROC of a classifier on the best lower block minus that of one on the top",
            )
        },
        needs=("scores",),
    ),
    Claim(
        id="R7",
        statement="The SVCCA cut-off lies at or next to the searched one.",
        source=f"{PENG}, appendix C.1",
        chapter="cutpoint",
        # More often than not; an exact interval needs six searches in agreement to say so.
        parts={
            "agreement": Part(
                "share of searches (seeds and tasks) whose SVCCA cut-off is the searched cut point or a neighbour of "
                "it",
                above(0.5),
                said="the share of searches that agree with the SVCCA cut-off",
                plain=True,
            )
        },
    ),
    Claim(
        id="R8",
        statement="Pooling before the head costs no performance.",
        source=f"{PENG}, Figure 6",
        chapter="ablations",
        parts={
            "difference": Part(
                "final test AUROC, TTL pooled minus not pooled, per task",
                above(-AUC),
                said="the final AUROC with pooling minus that without",
            )
        },
        needs=("scores",),
    ),
    Claim(
        id="R9",
        statement="TTL helps large, middle and small architectures alike.",
        source=f"{PENG}, Table 3",
        chapter="ablations",
        parts={
            "difference": Part(
                "final test AUROC, TTL minus full fine-tuning, per architecture",
                above(0),
                said="the final AUROC of TTL minus that of full fine-tuning",
            )
        },
        needs=("scores",),
    ),
    Claim(
        id="R10",
        statement="Pretraining on medical images is no better than on natural images.",
        source=f"{PENG}, appendix C.2",
        chapter="ablations",
        # Added after the first quick runs, whose medical source gave hardly more than random weights: that natural
        # images do better than a source that is none says nothing of medical images.
        parts={
            "source": Part(
                "final test AUROC, medical source minus none",
                above(0),
                presupposed=True,
                said="the final AUROC from the medical source minus that from none",
            ),
            "difference": Part(
                "final test AUROC, medical minus natural source, per target task",
                below(AUC),
                said="the final AUROC from the medical source minus that from natural images",
            ),
        },
        needs=("scores",),
    ),
    Claim(
        id="R11",
        statement="Truncating a U-Net keeps or improves segmentation.",
        source=f"{PENG}, Table 2",
        chapter="segmentation",
        # Which block is chosen on the validation set, as in R6. A Dice near 0 or 1 leaves nothing to compare.
        parts={
            "difference": Part(
                "test Dice, U-Net cut where the validation Dice is best minus the whole one",
                above(-AUC),
                said="the test Dice of the cut U-Net minus that of the whole one",
            )
        },
        needs=("scores",),
        informative=(0.05, 0.995),
    ),
)

TABLE = {claim.id: claim for claim in _CLAIMS}
"""Every claim by its id, in the order of PAPERS: T1-T15 of Transfusion, R1-R11 of TruncatedTL."""
