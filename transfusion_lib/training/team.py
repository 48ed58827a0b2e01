"""The processes that train one run together, as ``torchrun`` starts them: one per GPU, or several on a CPU.

Each computes a part of every batch, and the numbers are those of the whole batch, as if one process had computed it:
batch norm takes its statistics over all parts, dropout draws for all of it, the loss is that of all outputs. They
differ from one process's by rounding only. The first process leads: it alone reads and writes the store, and tells the
others which runs to train.
"""

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from transfusion_lib.errors import InterruptedRunError, StoreError, TrainingError, TransfusionError
from transfusion_lib.training import interrupts

GRACE_S = 60.0  # for a process without its agent to write the checkpoint
AGREE_EVERY = 8  # steps between two looks at whether any process was asked to stop


@dataclass(frozen=True, kw_only=True)
class Team:
    """A process's place in its team; by default it is alone, and every method leaves numbers as they are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process claims, writes and speaks for the team."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """Return which of ``n`` images are this process's."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def module(self, network: nn.Module) -> nn.Module:
        """Return ``network`` as it is to be called in training: its gradients become the sum over the team."""
        if self.size == 1 or not any(parameter.requires_grad for parameter in network.parameters()):
            return network
        return nn.parallel.DistributedDataParallel(network)

    def over_batch(self, n: int) -> contextlib.AbstractContextManager[Any]:
        """Return the block in which layers see a part of a batch of ``n`` images and compute as if they saw it all."""
        return contextlib.nullcontext() if self.size == 1 else _OverBatch(self.part(n), n)

    def outputs(self, mine: Tensor, n: int) -> Tensor:
        """Return the outputs (n, ...) of the whole batch; gradients reach this process's part, and are then summed."""
        if self.size == 1:
            return mine
        part = self.part(n)
        every = mine.new_zeros(n, *mine.shape[1:])
        every[part] = mine.detach()
        self.total(every)
        return torch.cat([every[: part.start], mine, every[part.stop :]])

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss of the whole batch, which each process has computed."""
        (loss if self.size == 1 else loss * self.size).backward()  # DDP means over the team

    def total(self, values: Tensor) -> Tensor:
        """Return ``values`` summed over the team, in their place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def asked_to_stop(self, step: int) -> bool:
        """Whether any process was asked to stop; the team looks every few steps, all at the same."""
        asked = interrupts.requested()
        if self.size == 1:
            return asked
        if step % AGREE_EVERY or not self.total(torch.tensor(float(asked))).item():
            return False
        interrupts.request()
        return True

    def check_same(self, step: int) -> None:
        """Raise a ``StoreError`` unless all processes begin at the same step."""
        if self.total(torch.tensor(float(step))).item() != step * self.size:
            raise StoreError(
                f"the processes of this run do not see the same checkpoint (here: step {step}); "
                "point TRANSFUSION_STORE at a folder that all of them share"
            )

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message from the first process to the others; JSON, nothing is pickled."""
        if self.size > 1:
            content = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
            distributed.broadcast(torch.tensor(len(content)), src=0)
            distributed.broadcast(content, src=0)

    @contextlib.contextmanager
    def leading(self) -> Iterator[None]:
        """Send the other processes every run that this one trains in this block, and how the block ended."""
        try:
            yield
        except TransfusionError as error:
            self.tell({"what": "failed", "text": str(error), "exit_status": error.exit_status})
            raise
        self.tell({"what": "over"})

    def hear(self) -> dict[str, Any]:
        """Wait for the first process's next message."""
        length = torch.zeros((), dtype=torch.int64)
        distributed.broadcast(length, src=0)
        content = torch.empty(int(length), dtype=torch.uint8)
        distributed.broadcast(content, src=0)
        message: dict[str, Any] = json.loads(bytes(content.tolist()))
        return message


@contextlib.contextmanager
def joined() -> Iterator[Team]:
    """Be a member of the team that ``torchrun`` started, or alone where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1")) if "MASTER_ADDR" in os.environ else 1
    if size == 1:
        yield Team()
        return
    distributed.init_process_group()  # what fits each tensor: NCCL on GPUs, Gloo on CPUs and for messages
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        yield Team(rank=distributed.get_rank(), size=size)
    except RuntimeError as error:
        if not re.search(r"[Cc]onnection (closed|reset)|Broken pipe|NCCL", str(error)):
            raise
        raise TrainingError(
            "another process of this run ended; the checkpoint is kept, start all of them again"
        ) from None
    distributed.destroy_process_group()  # after an error it could wait for the dead


def _end_with(agent: int) -> None:
    """Ask this process to stop once the agent that started it is gone, and end it if it cannot."""
    while os.getppid() == agent:
        time.sleep(1)
    interrupts.request()
    time.sleep(GRACE_S)
    os._exit(InterruptedRunError.exit_status)


def local_rank() -> int | None:
    """Return this process's number on its machine, None where ``torchrun`` did not start it."""
    found = os.environ.get("LOCAL_RANK")
    return None if found is None or "MASTER_ADDR" not in os.environ else int(found)


class _OverBatch(TorchFunctionMode):
    """Replaces what a layer computes or draws over its part of the batch by the same over the whole."""

    def __init__(self, part: slice, n: int) -> None:
        super().__init__()
        self.part, self.n = part, n

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return _batch_norm(*args, **kwargs)
        if func is functional.dropout:
            return self.dropout(*args, **kwargs)
        if func is Tensor.bernoulli_:  # stochastic depth
            return args[0].copy_(self.whole(args[0]).bernoulli_(*args[1:], **kwargs)[self.part])
        return func(*args, **kwargs)

    def whole(self, mine: Tensor) -> Tensor:
        """Return an empty tensor that is to the whole batch what ``mine`` is to its part."""
        if len(mine) != self.part.stop - self.part.start:
            raise NotImplementedError(f"random numbers of shape {tuple(mine.shape)} are not one per image")
        return mine.new_empty(self.n, *mine.shape[1:])

    def dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """Drop out what one process would."""
        if not training or p == 0:
            return x
        return x * functional.dropout(torch.ones_like(self.whole(x)), p)[self.part]


def _batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    y: Tensor = _BatchNorm.apply(x, running_mean, running_var, weight, bias, momentum, eps)
    return y


class _BatchNorm(torch.autograd.Function):
    """Batch norm with the statistics of all parts; unlike PyTorch's synchronised one it also works on CPUs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor,
        bias: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        """Normalise (n, c, ...) and update the running statistics."""
        exact = x.float()
        var, mean = torch.var_mean(exact, _axes(x), correction=0)
        mine = torch.cat([mean, var, mean.new_full((1,), x.numel() // x.shape[1])])
        parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, mine)
        counts = torch.stack(parts)[:, -1:]
        means, variances = torch.stack(parts)[:, :-1].chunk(2, dim=1)
        count = counts.sum()
        mean = (means * counts).sum(0) / count
        var = ((variances + (means - mean) ** 2) * counts).sum(0) / count
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (count / (count - 1)), momentum)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), count)
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the images, which depend on all parts, and of this part's share in the weights'."""
        x, weight, mean, inverse, count = ctx.saved_tensors
        shape = (1, -1) + (1,) * (x.ndim - 2)
        grad, normal = grads[0].float(), (x.float() - mean.view(shape)) * inverse.view(shape)
        mine = torch.cat([grad.sum(_axes(x)), (grad * normal).sum(_axes(x))])
        every = mine.clone()
        distributed.all_reduce(every)
        (of_bias, of_weight), (shift, scale) = mine.chunk(2), (every / count).chunk(2)
        of_x = (grad - shift.view(shape) - normal * scale.view(shape)) * (weight * inverse).view(shape)
        return of_x.to(x.dtype), None, None, of_weight, of_bias, None, None


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]
