"""Faster ways to compute what PyTorch's layers compute: the same but for rounding, and that only while they learn.

Each function changes those layers of a network that it knows to be faster; names and values of weights stay. Knows
only layers, and where compiled code is kept.
"""

from transfusion_lib.kernels.convolutions import as_products as as_products
from transfusion_lib.kernels.depthwise import with_own_gradients as with_own_gradients
from transfusion_lib.kernels.native import available as available
from transfusion_lib.kernels.pooling import pool_early as pool_early
