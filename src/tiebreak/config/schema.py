"""The groups of a run's configuration, as frozen dataclasses. Every key of a run is a field here or
a hyper-parameter of its method; nothing else is accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tiebreak.data.sources import Data
from tiebreak.methods import Method
from tiebreak.store import Settings


class Start(StrEnum):
    """The checkpoint a run starts from; GIVEN: the model as it is, which is measured and not
    trained."""

    BASE = "base"
    SFT = "sft"
    INSTRUCT = "instruct"
    GIVEN = "given"


class Schedule(StrEnum):
    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class Optimiser(StrEnum):
    """What moves the weights in align; SFT's are moved by AdamW."""

    ADAMW = "adamw"
    RMSPROP = "rmsprop"


class Adapter(StrEnum):
    NONE = "none"
    LORA = "lora"


class Reference(StrEnum):
    STORE = "store"
    LIVE = "live"


class Precision(StrEnum):
    """What training and scoring compute in. There is no "auto": a setting that depends on the
    machine would give one run two names, or two results."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class TrackerMode(StrEnum):
    AUTO = "auto"
    ONLINE = "online"
    OFFLINE = "offline"
    DISABLED = "disabled"


class Split(StrEnum):
    """The held-out rows an evaluation uses."""

    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A supervised stage: learning rate, examples per optimiser step, passes over the data."""

    learning_rate: float
    batch_size: int
    epochs: float
    examples: int | None = None


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Where training starts. `base`, `sft`, `instruct` name checkpoints (folder or Hub id), or
    "here": made by this project's own stages (the controlled world's model). base_chat_template: of
    a base model whose tokenizer brings none; chat_template: in place of any."""

    name: str
    base: str | None = None
    sft: str | None = None
    instruct: str | None = None
    revision: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: Settings = Settings()
    base_chat_template: str | None = None
    pretraining: Pretraining | None = None
    instruct_tuning: Tuning | None = None

    def source(self, start: Start) -> str | None:
        """The checkpoint of that name; None: this model has none."""
        if start is Start.GIVEN:
            return self.instruct or self.sft or self.base
        return getattr(self, str(start))


@dataclass(frozen=True, kw_only=True)
class ScenarioConfig:
    """Which stages lead to the aligned model: `start` is the model before align."""

    name: str
    start: Start


@dataclass(frozen=True, kw_only=True)
class Lora:
    rank: int
    alpha: int
    targets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How the work is laid out on the machine; results do not depend on it, run ids neither.
    num_threads: of each process; num_processes: that train one run together, by torchrun, and then
    divide its evaluation."""

    positions_per_cut: int
    cut_overhead: int
    head_chunk: int
    checkpoint_every: int
    gradient_checkpointing: bool
    num_threads: int | None
    num_processes: int


@dataclass(frozen=True, kw_only=True)
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
    optimiser: Optimiser = Optimiser.ADAMW


class JudgeKind(StrEnum):
    """Who judges answers."""

    NONE = "none"
    ENDPOINT = "endpoint"
    LOCAL = "local"
    GOLD = "gold"


class JudgeReply(StrEnum):
    """How a local model's verdict is read: from what it writes, or from the log-probs it gives to
    the verdicts."""

    SCORED = "scored"
    WRITTEN = "written"


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Who judges answers, and how it is asked (docs/judges.md).

    model: its name at the endpoint, or a folder or Hub id of a generative or a scalar reward model.
    endpoint: base URL of an OpenAI-compatible server; the key is read from the environment variable
    key_variable, and from nowhere else. max_tokens: of one reply. repeats: questions that are
    judged once more, in each of so many sessions, for the judge's repeatability. Prices are money
    per million tokens, sent and written; max_cost and max_total_tokens are caps on what all runs of
    a home pay to endpoints, whatever was spent before included. confirmed: the price may be paid.
    """

    kind: JudgeKind = JudgeKind.NONE
    model: str | None = None
    revision: str | None = None
    endpoint: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    reply: JudgeReply = JudgeReply.SCORED
    temperature: float | None = 0.0
    max_tokens: int = 512
    repeats: int = 100
    sessions: int = 1
    batch_size: int = 8
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 6
    price_sent: float | None = None
    price_written: float | None = None
    max_cost: float | None = None
    max_total_tokens: int | None = None
    confirmed: bool = False


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """A program in an environment of its own that writes the answers (docs/generation.md).

    command: its words, started without a shell, with the places {model}, {adapter}, {requests},
    {answers}, {precision} and {scripts}; none: answers are written here. version: what the command
    says with --version; it stands for the program in the keys of what is measured. timeout: seconds
    without a new answer after which it is ended.
    """

    command: tuple[str, ...] = ()
    version: str | None = None
    timeout: float = 1800.0


class Sampling(StrEnum):
    """Where the random numbers of an answer at a temperature above 0 come from. ITEM: they belong
    to (seed, item, step), so that an answer depends on no other. STREAM: one stream for all, as
    0.1.0 drew them; answers depend on the batch and its order."""

    STREAM = "stream"
    ITEM = "item"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured on a model, and how; no part of a run's id. evaluators: names of the files
    in stages/evaluators. split: a search judges its trials on rows of their own, so that the test
    rows are met once, by what it chose. benchmarks: tasks of lm-eval, TASK or TASK@SHOTS.
    questions: of each benchmark at most. chat_template: whether benchmarks are asked through it.
    mirror: the folder with the data of benchmarks; else the Hub. pair_sets: preferences that were
    not trained on, FILE, ORG/NAME or ORG/NAME:SPLIT. max_shared_prompts: share of the prompts of a
    pair set that may be training prompts. mt_bench, alpaca_eval, arena_hard: files of questions;
    with _baseline a file of answers to compare with, else those of the start model (of mt_bench for
    mt_bench_pairwise alone)."""

    name: str
    split: Split
    num_prompts: int
    max_new_tokens: int
    temperature: float
    batch_size: int
    seed: int
    evaluators: tuple[str, ...] = ("generations", "gold", "pairs")
    benchmarks: tuple[str, ...] = ()
    questions: int | None = None
    chat_template: bool = False
    mirror: str | None = None
    pair_sets: tuple[str, ...] = ()
    max_shared_prompts: float = 0.0
    judge: JudgeConfig = JudgeConfig()
    mt_bench: str | None = None
    mt_bench_baseline: str | None = None
    alpaca_eval: str | None = None
    alpaca_eval_baseline: str | None = None
    arena_hard: str | None = None
    arena_hard_baseline: str | None = None
    sampling: Sampling = Sampling.STREAM
    generator: GeneratorConfig = GeneratorConfig()

    @property
    def samples_by_item(self) -> bool:
        """Whether answers are drawn at random, each by numbers of its own."""
        return self.temperature > 0 and self.sampling is Sampling.ITEM

    @property
    def independent(self) -> bool:
        """Whether an answer depends on no other, so that they can be written apart."""
        return self.temperature == 0 or self.sampling is Sampling.ITEM


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    name: str
    mode: TrackerMode
    project: str
    entity: str | None


@dataclass(frozen=True)
class RunConfig:
    """One composed point: every group typed and checked. resolved: the same as plain values,
    complete, as a record keeps them."""

    model: ModelConfig
    method: Method
    method_name: str
    scenario: ScenarioConfig
    data: Data
    train: TrainConfig
    evaluation: EvaluationConfig
    tracker: TrackerConfig
    seed: int
    resolved: dict = field(repr=False, hash=False, compare=False)

    @property
    def names(self) -> dict[str, str]:
        """The words a table uses for this run. A model that is only measured stands where methods
        stand, under its own name."""
        return {
            "model": self.model.name,
            "method": self.method_name if self.trains else self.model.name,
            "scenario": self.scenario.name,
            "data": self.data.name,
        }

    @property
    def trains(self) -> bool:
        """Whether a policy is trained; else the model is measured as it is given."""
        return self.scenario.start is not Start.GIVEN

    @property
    def trains_sft(self) -> bool:
        """Whether the start model is fine-tuned by this run, and not given."""
        return self.scenario.start is Start.SFT and self.model.sft is None

    @property
    def start_source(self) -> str:
        """The checkpoint that the start model is, or is tuned from; "here": pretrained here."""
        source = self.model.source(self.scenario.start) or self.model.base
        assert source is not None, "config.checks has seen to it"
        return source

    @property
    def reads_reference(self) -> bool:
        """Whether log-probs of the start model are read during training."""
        return self.method.needs.reference or self.train.drift

    @property
    def stores_reference(self) -> bool:
        """Whether these are scored once, before training; else by a model beside the policy."""
        return self.train.reference is Reference.STORE and not self.method.needs.live
