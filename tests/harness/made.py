"""A small mirror with rows of our own, in the form that stock lm-eval tasks read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NAMES = ("Ann", "Bob", "Cid", "Dora", "Eve", "Finn")
Row = dict[str, Any]


def write(mirror: Path, path: str, configs: dict[str, dict[str, list[Row]]]) -> None:
    """One data set: configuration -> split -> rows."""
    folder = mirror / path
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            file = f"{config}-{split}.parquet"
            pq.write_table(pa.Table.from_pylist(rows), folder / file)
            lines += [f"  - split: {split}", f"    path: {file}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def winogrande(number: int) -> list[Row]:
    return [
        {"sentence": f"{NAMES[n % 6]} met {NAMES[(n + 1) % 6]} and _ was glad on day {n}.",
         "option1": NAMES[n % 6], "option2": NAMES[(n + 1) % 6], "answer": str(1 + n % 2)}
        for n in range(number)
    ]  # fmt: skip


def mmlu(subject: str, number: int) -> list[Row]:
    return [
        {"question": f"How many is {n} and {n} in {subject}?", "subject": subject, "answer": n % 4,
         "choices": [str(2 * n + k) for k in range(4)]}
        for n in range(number)
    ]  # fmt: skip


def gsm8k(number: int) -> list[Row]:
    return [{"question": f"What is {n} plus 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"}
            for n in range(number)]  # fmt: skip


def make_mirror(mirror: Path) -> Path:
    rows = winogrande(12)
    write(mirror, "allenai/winogrande", {"winogrande_xl": {"train": rows, "validation": rows}})
    write(mirror, "cais/mmlu", {name: {"test": mmlu(name, 6), "dev": mmlu(name, 5)}
                                for name in ("anatomy", "astronomy")})  # fmt: skip
    write(mirror, "openai/gsm8k", {"main": {"train": gsm8k(4), "test": gsm8k(6)}})
    return mirror
