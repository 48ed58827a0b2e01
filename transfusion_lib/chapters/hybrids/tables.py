"""What the chapter "Hybrids" says of its curves."""

from transfusion_lib.chapters.kit.arrivals import BASE, FULL, Arms
from transfusion_lib.papers import transfusion as paper

SLIM, GABOR = "Slim", "Gabor conv1"


def first_stage(arms: Arms, network: str) -> str | None:
    """Return the start of a network that has its first stage pretrained, if it is there."""
    plain = (BASE, GABOR, SLIM, FULL)
    return next((start for start in arms.get(network, {}) if start not in plain), None)


def paper_figure_8(arms: Arms) -> dict[str, dict[str, float]]:
    """Return, for each network, the paper's steps as fractions of its random start's: of CBR-LargeW for a CBR."""
    found = {}
    for network in arms:
        rows = paper.FIGURE_8["CBR-LargeW" if network.startswith("CBR") else "ResNet-50"]
        names = {"conv1": first_stage(arms, network) or "conv1"}
        found[network] = {names.get(start, start): steps / rows[BASE] for start, steps in rows.items()}
    return found
