"""Token ids of a data set: what the engine trains on, kept flat on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiebreak.errors import UserError
from tiebreak.store import stamps
from tiebreak.warm import kept

FORMAT = 2


@dataclass(frozen=True)
class Tokens:
    """Token ids ready for the engine; EOS included at the end of each untruncated response.
    Responses of a row stand best first. scores: of ranked lists only, one number per response."""

    ids: list[str]
    prompts: list[list[int]]
    responses: list[tuple[list[int], ...]]
    labels: list[bool | None]
    scores: list[tuple[float, ...]] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def content_hash(self) -> str:
        """sha256 of the token ids of prompts and responses; names and labels are not in it."""
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name}:{array.size}:".encode())
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, folder: str | Path) -> None:
        """tokens.safetensors (flat ids and offsets) and tokens.json (row names and labels)."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._arrays(), folder / "tokens.safetensors")
        rows = {"format": FORMAT, "ids": self.ids, "labels": self.labels, "scores": self.scores}
        (folder / "tokens.json").write_text(json.dumps(rows), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Tokens:
        """What `save` wrote, not to be changed: a worker of a sweep gives the same to its next run.
        UserError when the folder holds another format."""
        key = "tokens", stamps(Path(folder).glob("tokens.*"))
        found = kept.get(key)
        if found is None:
            found = cls._read(Path(folder))
            kept.put(key, found, found._size())
        return found

    def _size(self) -> int:
        """Bytes in memory, roughly: of a list, and of an entry."""
        lists = [*self.prompts, *(ids for row in self.responses for ids in row)]
        return 120 * len(lists) + 8 * sum(map(len, lists))

    @classmethod
    def _read(cls, folder: Path) -> Tokens:
        from safetensors.numpy import load_file

        path = folder / "tokens.json"
        rows = json.loads(path.read_text(encoding="utf-8"))
        if rows.get("format") != FORMAT:
            raise UserError(
                f"{path}: format {rows.get('format')!r}, this version reads {FORMAT}; "
                "delete the folder to tokenise again"
            )
        arrays = load_file(folder / "tokens.safetensors")
        prompts = _unflatten(arrays["prompt_ids"], arrays["prompt_offsets"])
        flat = iter(_unflatten(arrays["response_ids"], arrays["response_offsets"]))
        responses = [tuple(next(flat) for _ in range(k)) for k in arrays["num_responses"]]
        scores = rows["scores"]
        if scores is not None:
            scores = [tuple(row) for row in scores]
        return cls(rows["ids"], prompts, responses, rows["labels"], scores)

    def _arrays(self) -> dict[str, np.ndarray]:
        prompts, prompt_offsets = _flatten(self.prompts)
        responses, response_offsets = _flatten([ids for row in self.responses for ids in row])
        return {
            "prompt_ids": prompts,
            "prompt_offsets": prompt_offsets,
            "response_ids": responses,
            "response_offsets": response_offsets,
            "num_responses": np.array([len(row) for row in self.responses], dtype=np.int64),
        }


def _flatten(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return np.array([i for row in rows for i in row], dtype=np.int32), offsets


def _unflatten(flat: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    bounds = offsets.tolist()
    # One object for each id, not one for each place it stands at: a quarter of the memory.
    ids = np.arange(flat.max(initial=0) + 1).astype(object)
    return [ids[flat[a:b]].tolist() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
