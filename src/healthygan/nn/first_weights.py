"""How networks get their first weights: from a seed of their own, or not at all where they are loaded next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_UNDRAWN: ContextVar[bool] = ContextVar("undrawn", default=False)


class FirstWeights:
    """Torch's random numbers from a seed; what is drawn within ``drawn`` goes on where the last time ended.

    Torch's own generator stays where it is.
    """

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Networks made within draw their first weights from here; within ``undrawn`` they draw none."""
        if _UNDRAWN.get():
            with _NoDraws():
                yield
            return
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._state)
            yield
            self._state = torch.get_rng_state()


@contextmanager
def undrawn() -> Iterator[None]:
    """Detectors made within hold whatever lies in memory until their weights are loaded; that saves the drawing."""
    token = _UNDRAWN.set(True)
    try:
        yield
    finally:
        _UNDRAWN.reset(token)


class _NoDraws(TorchFunctionMode):
    """Leaves tensors as they are where ``torch.nn.init`` or a random fill would write to them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] = {}
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (Tensor.normal_, Tensor.uniform_):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
