"""What a verdict means for someone who chooses a network today: a sentence per claim, if it holds and if it does not.

An open claim has none: a reader should not act on it.
"""

from collections.abc import Mapping

from transfusion_lib.claims.judge import Outcome, Verdict

SUPPORTED_CONTRADICTED: Mapping[str, tuple[str, str]] = {
    "T1": (
        "With this many images the start does not decide where training ends: choose it by convenience and speed.",
        "The start still shows at the end of training: try both starts before settling on one.",
    ),
    "T2": (
        "Try a network a tenth the size first: it costs less to train and to run, and gives up little.",
        "Size or design still pays here: a small CBR is a baseline, not a replacement.",
    ),
    "T3": (
        "Do not choose a network by its rank on ImageNet; compare candidates on the task itself.",
        "A better rank on the source task went with a better score here: it is a fair first filter.",
    ),
    "T4": (
        "With few images and a large network, start from pretrained weights; with a small one it matters less.",
        "With few images a small network gains from pretrained weights as much as a large one: use them for either.",
    ),
    "T5": (
        "Two large networks of equal score may have learnt different features: do not read one off the other.",
        "The start left no such mark on higher layers: networks from either start may be compared layer by layer.",
    ),
    "T6": (
        "Lower layers keep most of what they started with: that is where a good start is worth having.",
        "Lower layers did not stay closest to their start: a method that relies on it, as freezing does, needs a test.",
    ),
    "T7": (
        "What is reused sits in the lowest stages: keeping those keeps most of what was transferred.",
        "Reuse was not confined to the lowest two stages: keep more of the network than them.",
    ),
    "T8": (
        "The first layer of a large network hardly moves: its initial weights are a design decision.",
        "Similarity at the start did not foretell similarity at the end as the paper says: do not predict it.",
    ),
    "T9": (
        "The first filters of a large network are close to what they were given, so give it good ones.",
        "The small network's first filters moved no more than the large one's: size alone does not say what will move.",
    ),
    "T10": (
        "Do not expect Gabor filters in a small network's first layer, and do not take their absence as a fault.",
        "A small network kept or learnt Gabor filters: their presence does not tell which network was pretrained.",
    ),
    "T11": (
        "Where training time is what costs, start from pretrained weights.",
        "Pretrained weights did not save steps here: measure before relying on it.",
    ),
    "T12": (
        "Where no weights fit, random ones with the statistics of a trained network give part of the gain.",
        "Statistics alone gave little: the speed came from features, so the real weights are needed.",
    ),
    "T13": (
        "If only part of a network can be taken over, take the lowest stages.",
        "The lowest stages did not give most of the speed: take over more of them.",
    ),
    "T14": (
        "A thinner network on pretrained lower stages trains as fast and ends as high, and is cheaper to run.",
        "Thinning the upper stages cost speed or score here: check it before saving on them.",
    ),
    "T15": (
        "Synthetic Gabor filters can stand in for a pretrained first layer, without any pretraining.",
        "Synthetic Gabor filters do not replace a pretrained first layer here.",
    ),
    "R1": (
        "Freezing, slimming or cutting costs nothing measurable: prefer the cheapest of them to full fine-tuning.",
        "At least one of these methods lost accuracy: choose by validation, and keep full fine-tuning in it.",
    ),
    "R2": (
        "Cut the network: the truncated one is better, smaller and faster than the alternatives.",
        "The truncated network is not the best in every respect: weigh its accuracy against its cost.",
    ),
    "R3": (
        "Search the layers next to the best block too: the second stage pays.",
        "Stop after the blocks: the second stage of the search did not improve the result.",
    ),
    "R4": (
        "The similarity profile shows how deep reuse goes: layers near the floor are candidates for removal.",
        "Similarity does not fall to the floor at the top: a low profile is no reason by itself to remove layers.",
    ),
    "R5": (
        "Fine-tuning makes the top repeat what lower blocks compute: some of it can go.",
        "The top blocks do not come to repeat the lower ones: redundancy is no argument for cutting here.",
    ),
    "R6": (
        "Intermediate features may classify better than the last ones: try a head lower down.",
        "The last block's features were as good as any below: a lower head gains only speed.",
    ),
    "R7": (
        "One fine-tuning and a similarity curve can replace the search for the cut.",
        "The cheap rule and the search disagree: search by validation.",
    ),
    "R8": (
        "Pool before the head: it is smaller and costs nothing.",
        "Positions carry information here: try an unpooled head.",
    ),
    "R9": (
        "Cutting is worth trying whatever the architecture.",
        "Cutting did not help every architecture: try it for yours before relying on it.",
    ),
    "R10": (
        "Weights from natural images are as good a start as the medical ones tried here, and easier to get.",
        "A medical source beat natural images: where one is at hand, try it.",
    ),
    "R11": (
        "A shallower U-Net segments as well: start with fewer stages.",
        "The whole U-Net was needed: do not cut it without a comparison.",
    ),
}


def in_practice(verdict: Verdict) -> str | None:
    """Return what a decided verdict means in practice, None where it leaves the claim open."""
    decided: dict[Outcome, int] = {"supported": 0, "contradicted": 1}
    place = decided.get(verdict.outcome)
    return None if place is None else SUPPORTED_CONTRADICTED[verdict.claim][place]
