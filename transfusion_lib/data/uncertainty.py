"""What becomes of an uncertain label: the policies of CheXpert (Irvin et al., AAAI 2019, section 3)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from transfusion_lib.errors import DataError

Policy = Literal["published", "ones", "zeros", "ignore"]

PUBLISHED: dict[str, Literal[0, 1]] = {
    "atelectasis": 1,
    "cardiomegaly": 0,
    "consolidation": 0,
    "edema": 1,
    "pleural effusion": 1,
}
"""U-Ones or U-Zeros, whichever has the higher validation AUC in the CheXpert paper's Table 3.

Where that paper's own best is U-MultiClass (cardiomegaly, pleural effusion) or U-SelfTrained (consolidation), which
change the training and not the label, this is the better of the two replacements."""


def resolve(labels: Tensor, *, pathologies: Sequence[str], policy: Policy) -> Tensor:
    """Return ``labels`` (n, classes), in which -1 is uncertain, as float32 without -1.

    "ones" and "zeros" replace it everywhere, "ignore" makes it NaN, "published" goes by pathology (``PUBLISHED``; upper
    case and underscores do not matter). Other values, NaN too, stay. A pathology that the paper does not treat is a
    ``DataError`` under "published", if it has uncertain labels.
    """
    out = labels.to(torch.float32, copy=True)
    for column, pathology in zip(out.T, pathologies, strict=True):
        uncertain = column == -1
        if uncertain.any():
            column[uncertain] = _replacement(pathology, policy)
    return out


def _replacement(pathology: str, policy: Policy) -> float:
    if policy != "published":
        return {"ones": 1.0, "zeros": 0.0, "ignore": float("nan")}[policy]
    name = pathology.lower().replace("_", " ")
    if name not in PUBLISHED:
        raise DataError(
            f'"{pathology}" has uncertain labels and CheXpert publishes no policy for it; '
            'ask for uncertain="ones", "zeros" or "ignore"'
        )
    return float(PUBLISHED[name])
