"""What a network does not learn, or learns more slowly: frozen units and parameter groups (LWFT in TruncatedTL).

The other surgery, ``slim`` and ``truncate``, changes shapes and so belongs to ``models``;
both can be called from here too.
"""

from typing import Any

from transfusion_lib.networks import Network, slim, truncate

__all__ = ["freeze", "parameter_groups", "slim", "truncate"]


def freeze(network: Network, up_to: str) -> Network:
    """Freeze every unit up to and including ``up_to``, a stage or cut point, and return the network.

    Frozen units have no gradients and stay in evaluation mode even while the network trains: batch norm uses and
    keeps its running statistics, and there is no dropout. ``up_to`` the last stage is feature extraction.
    """
    network.frozen = network.position(up_to)
    for number, unit in enumerate(network.units().values()):
        unit.requires_grad_(number >= network.frozen)
    network.train(network.training)
    return network


def parameter_groups(network: Network, *, learning_rate: float, body_lr_scale: float = 1.0) -> list[dict[str, Any]]:
    """Return an optimizer's groups: the head at ``learning_rate``, the body at ``body_lr_scale`` times that.

    Frozen parameters are in neither; a group without parameters is left out.
    """
    rates = ((network.body, learning_rate * body_lr_scale), (network.head, learning_rate))
    groups = [{"params": [p for p in part.parameters() if p.requires_grad], "lr": rate} for part, rate in rates]
    return [group for group in groups if group["params"]]
