"""What the folder of a model holds: config, weights, tokenizer, or an adapter on another model.

Only small files and the headers of weights are read; torch is not imported. What is damaged is
refused here, before anything is computed, with the file and the remedy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tiebreak.errors import UserError
from tiebreak.home import checkpoint_folder

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
WHOLE, INDEX, ADAPTER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
)
LFS = b"version https://git-lfs"
FLOATS = ("F64", "F32", "F16", "BF16")


class Base(NamedTuple):
    """The model an adapter was trained on: folder or Hub id, and the Hub's revision of it."""

    place: str
    revision: str | None


def adapter_base(source: str | Path, above: tuple[Path, ...] = ()) -> Base | None:
    """The base of the adapter in a folder, which may be an adapter on another; None: the folder, or
    Hub id, is a whole model. above: adapters that hang on this one. UserError: it holds both, the
    adapter is damaged, or its base is not there."""
    file = Path(source) / ADAPTER_CONFIG
    if not file.is_file():
        return None
    whole = sorted(one.name for one in file.parent.glob("model*.safetensors"))
    if whole:
        raise UserError(
            f"{file}: an adapter beside whole weights ({whole[0]}); which of them is the model is "
            f"not said: move {ADAPTER_CONFIG} and {ADAPTER} out of the folder to use the weights "
            "as they are, or the weights to use the adapter on its base model"
        )
    if not (file.parent / ADAPTER).is_file():
        raise UserError(f"{file.parent} has no {ADAPTER}; save the adapter as safetensors there")
    tensors(file.parent / ADAPTER)
    about = json_object(file)
    name, revision = about.get("base_model_name_or_path"), about.get("revision")
    try:
        folder = checkpoint_folder(str(name))
        if folder in (*above, file.parent.resolve()):
            raise UserError("an adapter is no base of itself")
    except UserError as error:
        raise UserError(
            f"{file}: base_model_name_or_path={name!r}: {error}; write the folder or the Hub id of "
            "the adapter's base model there"
        ) from error
    if folder is not None:
        adapter_base(folder, (*above, file.parent.resolve()))
    return Base(str(folder or name), revision)


def tokenizer_place(source: str | Path) -> str | Path:
    """The folder or Hub id that brings the tokenizer of a model: of an adapter without one, its
    base."""
    base = adapter_base(source)
    own = base is None or (Path(source) / "tokenizer_config.json").is_file()
    return source if own else tokenizer_place(base.place)


def json_object(file: Path) -> dict[str, Any]:
    """The content of a JSON file. UserError: it is damaged."""
    refuse_pointer(file)
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{file} is not JSON ({why}); download or make it again") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no JSON object; download or make it again")
    return found


def refuse_pointer(file: Path) -> None:
    """UserError for what git leaves where git-lfs did not fetch the content."""
    with file.open("rb") as stream:
        if stream.read(len(LFS)) == LFS:
            raise UserError(
                f"{file} is a git-lfs pointer, not the file itself; fetch it: git lfs pull"
            )


def weight_files(folder: Path) -> list[Path]:
    """The files that `from_pretrained` takes. UserError: one is missing, or all are."""
    named = json_object(folder / CONFIG).get("transformers_weights")
    for file in [folder / name for name in ([named] if named else [WHOLE, INDEX])]:
        if file.is_file():
            return [file] if file.suffix == ".safetensors" else _shards(file)
    found = sorted(f.name for f in folder.iterdir() if f.suffix in (".safetensors", ".bin", ".pth"))
    raise UserError(
        f"{folder} has no {named or WHOLE} and no {INDEX} (found: {', '.join(found) or 'no'} "
        "weights); only safetensors weights are read: download the missing files, or load it with "
        "transformers and save it again with save_pretrained"
    )


def _shards(index: Path) -> list[Path]:
    named = json_object(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise UserError(f"{index} has no weight_map; download or make it again")
    files = [index.parent / str(name) for name in sorted(set(named.values()))]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is missing; {index.name} names it: download it, too")
    return files


def tensors(file: Path) -> dict[str, tuple[list[int], str]]:
    """Tensor name -> (shape, type) of a safetensors file; only its header is read. UserError: the
    file is damaged."""
    from safetensors import SafetensorError, safe_open

    refuse_pointer(file)
    try:
        with safe_open(file, framework="np") as found:
            slices = {name: found.get_slice(name) for name in found.keys()}
            return {name: (one.get_shape(), one.get_dtype()) for name, one in slices.items()}
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{file} is no safetensors file, or a part of one ({error}); download or make it again"
        ) from error


def refuse_damaged(folder: Path) -> None:
    """UserError: weights of a whole model are missing, cut off, only pointers, or quantised."""
    types = {kind for file in weight_files(folder) for _, kind in tensors(file).values()}
    refuse_quantised(json_object(folder / CONFIG), folder / CONFIG, types <= set(FLOATS))


def refuse_quantised(config: dict[str, Any], where: str | Path, floats: bool = False) -> None:
    """UserError for a model whose config says that its weights are quantised. floats: the files
    hold none but floating-point numbers of 16 bits or more."""
    text = config.get("text_config")
    about = config.get("quantization_config") or (
        isinstance(text, dict) and text.get("quantization_config")
    )
    if not about:
        return
    method = (isinstance(about, dict) and about.get("quant_method")) or "of no named method"
    remedy = "give the model in full precision that it was made from"
    if floats:
        remedy = f"its files are in full precision: take the key out of config.json, or {remedy}"
    raise UserError(
        f"{where}: quantization_config ({method}): a quantised model is neither scored nor trained "
        f"here; {remedy}"
    )
