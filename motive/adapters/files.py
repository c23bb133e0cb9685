"""Model folders: reading their JSON, finding their family, fingerprinting their files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from motive.errors import ModelError

PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
SINGLE_FILES = (".safetensors", ".sft", ".gguf")
WEIGHT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = ("*.json", "*.model", "*.txt")


def read_json(path: Path, where: str) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises:
        ModelError: the file is absent, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{where}: {path} does not exist; give a complete diffusers folder") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{where}: {path} must be readable JSON, got {type(error).__name__}; copy the model again"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{where}: {path} must hold a JSON object, got {type(value).__name__}; copy the model again")
    return value


def transformer_class(folder: Path, where: str) -> str:
    """The class name of a pipeline folder's transformer, from model_index.json or else transformer/config.json.

    Raises:
        ModelError: neither file names a class.
    """
    index = folder / "model_index.json"
    if index.is_file():
        entry = read_json(index, where).get("transformer")
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str):
            return entry[1]
    config = folder / "transformer" / "config.json"
    if config.is_file():
        name = read_json(config, where).get("_class_name")
        if isinstance(name, str):
            return name
    raise ModelError(
        f"{where}: model must be a diffusers folder with model_index.json or transformer/config.json, got {folder}; "
        "give the folder that DiffusionPipeline.save_pretrained wrote"
    )


def is_pipeline(folder: Path) -> bool:
    """Whether a folder names its components, as save_pretrained of a whole pipeline writes it."""
    return (folder / "model_index.json").is_file() or (folder / "transformer" / "config.json").is_file()


def pickled(path: Path) -> ModelError:
    """The error for a checkpoint that is a pickle."""
    return ModelError(
        f"{path} is a pickle, and pickles are not loaded: loading one runs the code in it. Download the safetensors, or "
        "convert the file once where you trust it: torch.load it with weights_only=True and write the dictionary of tensors "
        "with safetensors.torch.save_file"
    )


def is_lora(file: Path) -> bool:
    """Whether a safetensors file holds factors of a LoRA and nothing else; False if it cannot be read."""
    if file.suffix.lower() not in (".safetensors", ".sft"):
        return False
    try:
        with safe_open(file, framework="numpy") as opened:
            names = list(opened.keys())
    except (OSError, SafetensorError):
        return False
    return bool(names) and all(re.search(r"lora|dora|\.alpha$|\.diff(_b)?$", name, re.IGNORECASE) for name in names)


def weights_in(folder: Path) -> list[Path]:
    """Files of weights that lie beside each other in a folder, those that can be read first."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (*SINGLE_FILES, *PICKLES)]
    return sorted(found, key=lambda path: path.suffix.lower() in PICKLES)


def check_weights(folder: Path) -> None:
    """Refuse a component whose weights cannot be loaded, before any work is done; reads names only.

    Raises:
        ModelError: there are pickles or a variant such as fp16 alone, no weights at all, or a shard is missing.
    """
    weights = [path.name for path in folder.glob("*.safetensors")]
    index = next((path for path in sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is not None:
        files = read_json(index, "model").get("weight_map")
        named = {str(name) for name in files.values()} if isinstance(files, dict) else set()
        missing = sorted(named - set(weights))
        if missing or not named:
            raise ModelError(
                f"{folder} lacks {missing[0] if missing else 'a list of shards'}, one of {len(named)} files that "
                f"{index.name} names; copy the model again"
            )
    elif not weights:
        pickled = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in PICKLES)
        if pickled:
            raise ModelError(
                f"{folder} holds its weights as a pickle only ({pickled[0]}), and pickles are not loaded: loading one runs "
                "the code in it. Download the model's safetensors, or convert it once where you trust the file: load the "
                "pipeline with diffusers and write it with save_pretrained(NEW_FOLDER, safe_serialization=True)"
            )
        raise ModelError(f"{folder} holds no safetensors weights; give a complete diffusers folder")
    elif all(_VARIANT.search(name) for name in weights):
        raise ModelError(
            f"{folder} holds a variant of the weights only ({min(weights)}); load the pipeline with diffusers' variant= and "
            "write it with save_pretrained into a new folder"
        )


_VARIANT = re.compile(r"\.(?:fp16|bf16|fp32|fp8|non_ema|ema)(?:-\d+-of-\d+)?\.safetensors$")


@lru_cache(maxsize=4096)
def _digest(path: str, size: int, mtime_ns: int) -> bytes:
    """Digest of one file; size and mtime_ns are part of the cache key, so that a changed file is read again."""
    state = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            state.update(block)
    return state.digest()


def digest(path: Path) -> bytes:
    """Digest of a file's content, read once as long as its size and time of change stay."""
    stat = path.stat()
    return _digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


def fingerprint(folder: Path, where: str, patterns: Sequence[str] = WEIGHT_FILES) -> str:
    """Hash of the names and contents of one component's files.

    Args:
        folder: the component's folder.
        where: what asks, for the message.
        patterns: which of its files count.

    Returns:
        32 hexadecimal digits; equal for equal contents wherever the folder lies.

    Raises:
        ModelError: no file matches.
    """
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    if not files:
        raise ModelError(f"{where}: {folder} has no {' or '.join(patterns)} file; give a complete diffusers folder")
    state = hashlib.blake2b(digest_size=16)
    for path in files:
        state.update(path.name.encode() + b"\0" + digest(path))
    return state.hexdigest()
