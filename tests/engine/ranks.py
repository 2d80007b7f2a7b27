"""Run by torchrun: trains each case for three steps, and leaves the rows and weights of rank 0.

    torchrun --nproc-per-node 2 ranks.py FOLDER

The test runs the same in its own process, alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import save_file
from tiny import make_data, make_model, make_tokens, make_trainer, plain_descent

from tiebreak.engine import processes
from tiebreak.engine.reference import ReferenceTable
from tiebreak.engine.scorer import TrainingData
from tiebreak.errors import TrainingFailed
from tiebreak.methods import METHODS

LEARNING_RATE = 0.1
CASES = {
    "dpo": (METHODS["dpo"](), False),
    "kto": (METHODS["kto"](), False),
    "kto-unpaired": (METHODS["kto"](), True),
    "cpo": (METHODS["cpo"](nll="batch"), False),
    "beta-dpo": (METHODS["beta-dpo"](), False),
    "bco": (METHODS["bco"](), False),
    "tdpo2": (METHODS["tdpo2"](), False),
    "tr-dpo": (METHODS["tr-dpo"](sync_every=2), False),
}


def run_case(name: str, folder: Path) -> None:
    """Batches of 5 and then 2 rows: the shares of two processes differ."""
    method, labelled = CASES[name]
    tokens = make_tokens(7, seed=4, labelled=labelled)
    if not labelled:
        tokens.responses[0] = ([2], [7, 2])  # equal responses tie, and rounding would break ties
    rows: list[dict] = []
    data = make_data(tokens, make_model(), method, mismatched_shift=0.1)
    trainer = make_trainer(
        folder / f"{name}-checkpoints", method, make_model(), data,
        batch_size=5, epochs=1.5, budget=40, checkpoint_every=2,
        learning_rate=LEARNING_RATE,
        on_step=lambda step, row, speed: rows.append(row),
    )  # fmt: skip
    plain_descent(trainer).train()
    if processes.rank() == 0:
        (folder / f"{name}.json").write_text(json.dumps(rows))
        save_file(trainer.model.state_dict(), folder / f"{name}.safetensors")


def fail_on_nan(folder: Path) -> None:
    """One row's reference is NaN: every process must stop, not only the one that holds the row."""
    method, tokens = METHODS["dpo"](), make_tokens(4)
    good = make_data(tokens, make_model(), method).reference
    assert good is not None
    values = good.values.clone()
    values[0] = float("nan")
    data = TrainingData(tokens, ReferenceTable(values, good.starts, good.first))
    trainer = make_trainer(folder / "nan", method, make_model(), data, batch_size=4)
    try:
        trainer.train()
    except TrainingFailed as error:
        (folder / f"nan-{processes.rank()}.txt").write_text(str(error))


if __name__ == "__main__":
    from torch import distributed

    for one in CASES:
        run_case(one, Path(sys.argv[1]))
    fail_on_nan(Path(sys.argv[1]))
    distributed.destroy_process_group()
