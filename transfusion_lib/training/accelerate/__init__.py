"""Faster ways to compute what PyTorch's layers compute while they learn: the same but for rounding, in plain PyTorch.

Each function changes those layers of a network that it knows to be faster, or how an optimizer steps; names and values
of weights stay. Knows only layers and optimizers.
"""

from transfusion_lib.training.accelerate.bfloat16 import depthwise_in_float32 as depthwise_in_float32
from transfusion_lib.training.accelerate.bfloat16 import multiply_in_float32 as multiply_in_float32
from transfusion_lib.training.accelerate.convolutions import as_products as as_products
from transfusion_lib.training.accelerate.optimizers import step_in_order_of_memory as step_in_order_of_memory
