"""Whether two runs are the same."""

import torch

from transfusion_lib.runs import Run


def same(one: Run, two: Run) -> bool:
    """Whether two runs agree in every number that is not a time."""
    weights = one.weights(), two.weights()
    return (
        one.curve == two.curve
        and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        and all(torch.equal(one.cases[name], two.cases[name]) for name in one.cases)
    )
