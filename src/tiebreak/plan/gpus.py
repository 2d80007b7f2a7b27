"""GPUs that a plan can be made for, and what is supposed of them (one table, of stated figures).

Memory is what their driver reports; TFLOP/s are the vendor's for dense bfloat16, bytes per second
those of the link between GPUs of one machine, in one direction: NVLink, or PCIe 4 x16 where they
have none. Prices are rough ones of an hour of one GPU rented on demand, in US dollars: give your
own. Nothing in this file was measured here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tiebreak.errors import UserError, nearest

UTILISED = 0.40  # of these TFLOP/s, by training of 7B with 8,192 positions a micro-batch
LINKED = 0.65  # of the link's bytes per second, by gathering and reducing


@dataclass(frozen=True)
class Gpu:
    """memory: GiB; tflops: bfloat16, dense; link: GB/s; price: of an hour; called: words
    that are in what the driver calls it."""

    name: str
    memory: float
    tflops: float
    link: float
    price: float
    called: tuple[str, ...]

    @property
    def room(self) -> int:
        """Bytes of memory."""
        return round(self.memory * 2**30)

    @property
    def flops(self) -> float:
        """FLOPs per second, as supposed for training."""
        return UTILISED * self.tflops * 1e12

    @property
    def sends(self) -> float:
        """Bytes per second to other GPUs, as supposed."""
        return LINKED * self.link * 1e9

    def is_called(self, name: str) -> bool:
        """Whether a record's device of that name is one of these."""
        words = name.lower().replace("-", " ").split()
        return all(word in words for word in self.called)


_TABLE = (
    Gpu("h100", 79.6, 989, 450, 3.0, ("h100", "80gb")),
    Gpu("h200", 140.4, 989, 450, 3.5, ("h200",)),
    Gpu("b200", 179.1, 2250, 900, 5.5, ("b200",)),
    Gpu("a100-80gb", 79.3, 312, 300, 1.8, ("a100", "80gb")),
    Gpu("a100-40gb", 39.4, 312, 300, 1.3, ("a100", "40gb")),
    Gpu("l40s", 45.0, 362, 32, 1.2, ("l40s",)),
    Gpu("l4", 22.5, 121, 32, 0.7, ("l4",)),
    Gpu("a10g", 22.5, 70, 32, 1.0, ("a10g",)),
    Gpu("rtx-4090", 24.0, 165, 32, 0.4, ("rtx", "4090")),
)
GPUS: Mapping[str, Gpu] = MappingProxyType({gpu.name: gpu for gpu in _TABLE})


def gpu_named(name: str) -> Gpu:
    """The row of that name. UserError: there is none."""
    if name not in GPUS:
        raise UserError(f"--gpu {name}{nearest(name, GPUS)}; known are {', '.join(GPUS)}")
    return GPUS[name]
