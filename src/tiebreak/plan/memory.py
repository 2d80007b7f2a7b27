"""What the stages hold in the memory of a process or a GPU, part by part, from a model's shape.

The engine splits weights, gradients and moments over the processes of a copy (FSDP2) and gathers
them layer by layer to compute, two layers at a time; a layer's gradient is reduced in float32.
Activations are counted for a transformer layer with a gated MLP, two norms in float32 and a fused
attention. `benchmarks/memory.py` holds the sums against torch's tracker. All sizes are bytes, at
most; what libraries keep and what is lost between blocks is stated, not computed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tiebreak.config.schema import Precision, RunConfig
from tiebreak.plan.sizes import Shape

FLOAT, HALF = 4, 2  # bytes of a number in float32 and in bfloat16
RUNTIME = 600 * 2**20  # of a process with the libraries loaded, before any model
GPU_RUNTIME = 3 * 2**30  # of a GPU: its context, workspaces, room lost between blocks; not measured

Parts = dict[str, float]  # what is held -> bytes; all of them at once


@dataclass(frozen=True)
class Layout:
    """How one run is laid out. shards: processes that hold a copy of the weights between them;
    replicas: such copies, which share each optimiser batch."""

    shards: int = 1
    replicas: int = 1

    @property
    def processes(self) -> int:
        return self.shards * self.replicas


def layout_of(run: RunConfig) -> Layout:
    """What the run's own settings say: processes with a whole copy each."""
    return Layout(replicas=run.train.execution.num_processes)


@dataclass(frozen=True)
class Place:
    """Where a stage is done: by processes laid out so, on a GPU each or on CPUs."""

    layout: Layout = Layout()
    on_gpu: bool = False

    def number(self, run: RunConfig) -> int:
        """Bytes of a number that is computed with. On CPUs float32, whatever is asked for: there it
        is counted at most."""
        half = self.on_gpu and run.train.precision is not Precision.FLOAT32
        return HALF if half else FLOAT

    @functools.cached_property
    def runtime(self) -> int:
        return GPU_RUNTIME if self.on_gpu else RUNTIME


HERE = Place()  # one process on CPUs


@dataclass(frozen=True)
class Step:
    """A forward and backward pass. positions: of a micro-batch, all of them scored; chunk: of these
    that meet the LM head at once; recompute: of each layer only the input is kept (activation
    checkpointing); distributions: whole ones over the vocabulary that stand side by side."""

    positions: float
    chunk: float
    recompute: bool
    distributions: int = 1


def training(
    shape: Shape,
    step: Step,
    layout: Layout,
    number: int,
    adapter: int = 0,
    reference: int = 0,
    moments: int = 2,
) -> Parts:
    """What training holds at its peak, which is in the backward pass. number: bytes of a number
    that is computed with; adapter: parameters of a LoRA adapter, 0: all weights are trained;
    reference: bytes of each parameter of a model beside the policy; moments: numbers that the
    optimiser keeps of each weight."""
    split = shape.parameters / layout.shards
    trained = adapter or split  # adapters are whole on every process
    gathers = layout.shards > 1 or number < FLOAT
    parts = {
        "weights": number * split if adapter else 0.0,
        "masters": FLOAT * trained,
        "moments": moments * FLOAT * trained,
        "gradients": FLOAT * trained,
        "gathered": 0.0,
        "reference": reference * split,
        **_pass(shape, step, number, bool(adapter)),
    }
    if gathers:
        parts["gathered"] = (2 if layout.shards > 1 else 1) * number * shape.layer
        if not adapter:  # the gradient that is being reduced, and the first of the next layer
            largest = max(shape.layer, shape.vocabulary * shape.hidden)
            parts["gradients"] += FLOAT * largest + number * shape.hidden * shape.intermediate
    return parts


def _pass(shape: Shape, step: Step, number: int, adapted: bool) -> Parts:
    """What the forward pass leaves and one layer's backward pass adds to it; of a chunk at the LM
    head only what is beyond that, for it is gone by then.

    Numbers of a position in a layer that are kept, by width. Hidden: two norms keep their input in
    float32, theirs and the attention's inputs and results; intermediate: gate, its activation, up
    and their product; two of keys and values. Adapters in float32 keep a float32 copy of what each
    linear layer is given, and compute their part of its result in float32.
    """
    hidden, intermediate, backward = 10, 4, (1, 2)
    if adapted and number < FLOAT:
        hidden, intermediate, backward = 18, 5, (9, 2)
    layer = hidden * shape.hidden + intermediate * shape.intermediate + 2 * shape.kv
    more = backward[0] * shape.hidden + backward[1] * shape.intermediate
    kept = shape.layers * (shape.hidden if step.recompute else layer)
    kept += 3 * shape.hidden  # at the head: states, and what stands for their gradients
    position, short = number * step.positions, more + layer * step.recompute
    beyond = max(0.0, _chunk(shape, step, number) - position * short)
    return {"activations": position * (kept + short), "head": beyond}


def _chunk(shape: Shape, step: Step, number: int) -> float:
    """Log-probs and probabilities of a chunk, with a copy to multiply by the weights."""
    copy = number if number < FLOAT else 0
    chunk = min(step.chunk, step.positions) * shape.vocabulary
    return (step.distributions * 2 * FLOAT + copy) * chunk


def scoring(shape: Shape, step: Step, number: int, adapter: int = 0) -> Parts:
    """A forward pass of a whole model: what a layer holds, and a chunk at the LM head."""
    layer = 10 * shape.hidden + 4 * shape.intermediate + 2 * shape.kv
    return {
        "weights": number * shape.parameters + FLOAT * adapter,
        "activations": number * step.positions * layer,
        "head": _chunk(shape, step, number),
    }


def writing(shape: Shape, batch: float, length: float, number: int, adapter: int = 0) -> Parts:
    """Answers that a whole model writes token by token, `batch` at once up to `length` tokens."""
    return {
        "weights": number * shape.parameters + FLOAT * adapter,
        "keys and values": number * batch * length * shape.layers * 2 * shape.kv,
        "head": 2 * batch * shape.vocabulary * FLOAT,
    }
