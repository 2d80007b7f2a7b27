"""The groups of a run's configuration, as frozen dataclasses. Every key of a run is a field here
or a hyper-parameter of its method; nothing else is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tiebreak.methods import Method


class Start(StrEnum):
    BASE = "base"
    SFT = "sft"
    INSTRUCT = "instruct"


class Schedule(StrEnum):
    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class Adapter(StrEnum):
    NONE = "none"
    LORA = "lora"


class Reference(StrEnum):
    STORE = "store"
    LIVE = "live"


class Precision(StrEnum):
    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class TrackerMode(StrEnum):
    AUTO = "auto"
    ONLINE = "online"
    OFFLINE = "offline"
    DISABLED = "disabled"


class DataKind(StrEnum):
    WORLD = "world"
    FILES = "files"


class Split(StrEnum):
    """The held-out rows an evaluation uses."""

    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True)
class Tuning:
    """A supervised stage: learning rate, examples per optimiser step, passes over the data."""

    learning_rate: float
    batch_size: int
    epochs: float
    examples: int | None = None


@dataclass(frozen=True)
class Pretraining:
    """A model made here, on the controlled world's corpus."""

    learning_rate: float
    batch_size: int
    epochs: float
    documents: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    seed: int


@dataclass(frozen=True)
class ModelConfig:
    """Where training starts. `base`, `sft`, `instruct` name checkpoints (folder or Hub id), or
    "here": made by this project's own stages (the controlled world's model)."""

    name: str
    base: str | None = None
    sft: str | None = None
    instruct: str | None = None
    revision: str | None = None
    chat_template: str | None = None
    pretraining: Pretraining | None = None
    instruct_tuning: Tuning | None = None


@dataclass(frozen=True)
class ScenarioConfig:
    """Which stages lead to the aligned model: `start` is the model before align."""

    name: str
    start: Start


@dataclass(frozen=True)
class WorldData:
    """The controlled world: see docs/world.md for the knobs."""

    name: str
    kind: DataKind
    seed: int
    num_pairs: int
    num_test_pairs: int
    num_demonstrations: int
    label_noise: float
    length_bias: float
    edit_distance: float
    temperature: float
    max_length: int
    max_prompt_length: int | None
    max_dropped_share: float


@dataclass(frozen=True)
class FileData:
    """Preferences (and demonstrations) from JSONL, Parquet or the Hub."""

    name: str
    kind: DataKind
    train: str
    train_split: str
    test: str | None
    test_split: str
    test_share: float
    validation_share: float
    as_conversation: bool
    demonstrations: str | None
    demonstrations_split: str
    revision: str | None
    max_rows: int | None
    max_test_rows: int | None
    max_length: int
    max_prompt_length: int | None
    max_dropped_share: float


@dataclass(frozen=True)
class Lora:
    rank: int
    alpha: int
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Execution:
    """How the work is laid out on the machine; results do not depend on it, run ids neither.

    num_threads: of each process; num_processes: that train one run together, by torchrun.
    """

    positions_per_cut: int
    cut_overhead: int
    head_chunk: int
    checkpoint_every: int
    gradient_checkpointing: bool
    num_threads: int | None
    num_processes: int


@dataclass(frozen=True)
class TrainConfig:
    name: str
    learning_rate: float
    batch_size: int
    epochs: float
    max_steps: int | None
    schedule: Schedule
    warmup_share: float
    weight_decay: float
    max_grad_norm: float
    precision: Precision
    adapter: Adapter
    lora: Lora
    reference: Reference
    drift: bool
    sft: Tuning
    execution: Execution


@dataclass(frozen=True)
class EvaluationConfig:
    """How a model is judged. `split`: a search judges its trials on rows of their own, so that
    the test rows are met once, by what it chose."""

    name: str
    split: Split
    num_prompts: int
    max_new_tokens: int
    temperature: float
    batch_size: int
    seed: int


@dataclass(frozen=True)
class TrackerConfig:
    name: str
    mode: TrackerMode
    project: str
    entity: str | None


@dataclass(frozen=True)
class Run:
    """One composed point, typed and checked."""

    model: ModelConfig
    method: Method
    method_name: str
    scenario: ScenarioConfig
    data: WorldData | FileData
    train: TrainConfig
    evaluation: EvaluationConfig
    tracker: TrackerConfig
    seed: int
    resolved: dict = field(repr=False, hash=False, compare=False)

    @property
    def names(self) -> dict[str, str]:
        """The words a table uses for this run."""
        return {
            "model": self.model.name,
            "method": self.method_name,
            "scenario": self.scenario.name,
            "data": self.data.name,
        }
