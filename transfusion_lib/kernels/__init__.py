"""Faster ways to compute what PyTorch's layers compute while they learn: the same but for rounding.

Each function changes those layers of a network that it knows to be faster, or how an optimizer steps; names and values
of weights stay. Knows only layers and optimizers, and where compiled code is kept.
"""

from transfusion_lib.kernels.convolutions import as_products as as_products
from transfusion_lib.kernels.depthwise import with_own_gradients as with_own_gradients
from transfusion_lib.kernels.native import available as available
from transfusion_lib.kernels.norms import norm_in_few_passes as norm_in_few_passes
from transfusion_lib.kernels.optimizers import step_in_order_of_memory as step_in_order_of_memory
from transfusion_lib.kernels.pooling import pool_early as pool_early
