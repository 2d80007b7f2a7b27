"""Data sets on a Hub: which commit a name stands for, and the rows of exactly that commit.
`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE` and tokens are honoured as `huggingface_hub` honours
them. Rows are data only: code in a data set repository is never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiebreak.data.formats import no_split, table_rows
from tiebreak.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_KEYS = {"dataset": "data.revision", "model": "model.revision"}
_WORDS = {"dataset": "data set", "model": "model"}


def resolve_commit(hub_id: str, revision: str | None = None, kind: str = "dataset") -> str:
    """The 40-digit commit of this revision (default: main); kind: "dataset" or "model". A full
    commit needs no network. Otherwise the Hub is asked, and where it cannot be reached, the local
    cache. UserError when neither knows."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    import httpx2  # what huggingface_hub speaks with
    from huggingface_hub import HfApi, constants, errors

    # Where `huggingface_hub` keeps such notes, for a later run offline.
    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{hub_id.replace('/', '--')}"
    note = folder / "refs" / (revision or "main")
    try:
        ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
        commit = ask(hub_id, revision=revision, timeout=30).sha
    except errors.HFValidationError as error:
        raise UserError(f"{hub_id!r} is no Hub id ({error}); write org/name") from error
    except errors.HfHubHTTPError as error:
        raise UserError(_refused(hub_id, revision, error, kind)) from error
    except (errors.OfflineModeIsEnabled, httpx2.TransportError) as error:
        if note.is_file():
            return note.read_text(encoding="utf-8").strip()
        raise UserError(
            f"{hub_id}: the Hub cannot be reached ({type(error).__name__}) and the local cache "
            f"does not say which commit {revision or 'main'!r} is; pin {_KEYS[kind]} to a 40-digit "
            "commit, or connect once"
        ) from error
    assert commit is not None, "the Hub names the commit of what it serves"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(commit, encoding="utf-8")
    return commit


def load_rows(
    hub_id: str, split: str, revision: str | None = None, subset: str | None = None
) -> tuple[str, Iterator[tuple[int, dict[str, Any]]]]:
    """(`org/name/split`, the rows with their numbers, counted from 1) of one split at one commit;
    subset: the data set's configuration. Preference sets that also hold demonstrations call their
    splits train_prefs and test_prefs: these are meant where there is no train or test."""
    commit = resolve_commit(hub_id, revision)
    found = _loaded(hub_id, subset, commit)
    names = [str(name) for name in found]
    if split in ("train", "test") and split not in names and f"{split}_prefs" in names:
        split = f"{split}_prefs"
    if split not in names:
        raise UserError(no_split(hub_id, split, names))
    # Offline, `datasets` answers with whatever it built last, whatever revision was asked for.
    folders = {Path(file["filename"]).parent.name for file in found[split].cache_files}
    if folders != {commit}:
        raise UserError(
            f"{hub_id}: asked for commit {commit}, the local cache gave "
            f"{', '.join(sorted(folders)) or 'nothing'}; connect once, or pin data.revision to the "
            "commit in the cache"
        )
    # As Arrow: images and sounds stay undecoded bytes.
    batches = found[split].with_format("arrow").iter(batch_size=1024)
    schema = found[split].features.arrow_schema
    return f"{hub_id}/{split}", table_rows(schema, batches, f"{hub_id}/{split}")


def _loaded(hub_id: str, subset: str | None, commit: str) -> Any:
    """The data set's splits by name, as the library has them."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    try:
        return datasets.load_dataset(hub_id, subset, revision=commit)
    except DatasetNotFoundError as error:
        raise UserError(f"{hub_id}@{commit}: {error}; check the id and the revision") from error
    except ConnectionError as error:
        raise UserError(
            f"{hub_id}@{commit}: the Hub cannot be reached and the local cache does not hold "
            f"this data set ({error}); connect once, or give a file"
        ) from error
    except (DatasetsError, FileNotFoundError, ValueError, RuntimeError) as error:
        why = error.__cause__ or error
        raise UserError(
            f"{hub_id}@{commit}: cannot be loaded ({why}); where it names configurations, give one "
            "as data.subset; else download the file you mean (.jsonl, .json, .csv or .parquet)"
        ) from error


def _refused(hub_id: str, revision: str | None, error: Exception, kind: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{hub_id}: access must be asked for on the Hub, then `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{hub_id}: the Hub has no revision {revision!r}; correct {_KEYS[kind]}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{hub_id}: neither a file here nor a {_WORDS[kind]} on the Hub (a private one needs "
            "`hf auth login`); check the path or the id"
        )
    return f"{hub_id}: the Hub refused ({error}); try again, or pin {_KEYS[kind]} to a commit"
