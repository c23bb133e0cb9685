"""Trainers' configuration files: TOML, YAML and JSON objects of unknown origin, read whole and written again."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from motive.data.base import Part, Unread
from motive.data.formats.reader import DatasetFormat, Detection, Row, Subset, id_of
from motive.data.paths import PathGuard, is_clean
from motive.errors import ClipError, DatasetError
from motive.extras import require
from motive.publish import published

_WHERE = "motive.data.formats.configs"
_MAX_BYTES = 1 << 20
_MAX_VALUES = 100_000
"""Values in a file, counted with what its YAML aliases stand for: a small file can otherwise describe a huge one."""
_MAX_DEPTH = 32
_MAX_OBJECT_BYTES = 1 << 28
_LINE_ENDS = frozenset("\x85\u2028\u2029")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class ConfigFormat(DatasetFormat):
    """A trainer's configuration file that lists folders and tables of clips.

    It is read when its path is given, and not because it lies in a folder: it may name other folders than that one.
    Relative paths in it start from its own folder, or from ``--root``. The trainers take them relative to the folder
    that they are started in, which no file tells; paths in a selection's configuration are therefore absolute.

    Attributes:
        suffixes: kinds of file this format uses.
        called: what a person calls such a file.
    """

    suffixes: tuple[str, ...]
    called: str

    @abstractmethod
    def owns(self, config: Mapping[str, Any]) -> bool:
        """Whether a configuration is of this format; it may hold any values."""

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_dir():
            return self._in_folder(path) if named else None
        if path.suffix.lower() not in self.suffixes:
            if named:
                raise DatasetError(f"{path} must end in {' or '.join(self.suffixes)} to be {self.called}")
            return None
        if path.suffix.lower() == ".json" and not named and not self._is_ours(path):
            return None  # a table, perhaps; a file that is not even JSON is left to the formats of tables
        if self.owns(load_config(path)):
            return Detection(path, path)
        if named:
            raise DatasetError(f"{path} lists no clips in the form of {self.called}; docs/formats/datasets.md shows it")
        return None

    def _is_ours(self, path: Path) -> bool:
        """Whether a file of a fitting suffix is of this format; one that cannot be read is not."""
        if path.suffix.lower() == ".json" and not _holds_object(path):
            return False
        try:
            return self.owns(load_config(path))
        except DatasetError:
            return False

    def _in_folder(self, path: Path) -> Detection:
        """The one configuration that lies in a folder."""
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in self.suffixes and file.is_file()]
        found = [file for file in files if self._is_ours(file)]
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise DatasetError(
                f"{path} must hold one file that is {self.called}, got {names}; give the path of the file"
            )
        return Detection(path, found[0])


def load_config(path: Path) -> dict[str, Any]:
    """The object in a ``.toml``, ``.yaml``, ``.yml``, ``.json`` file: strings, numbers, booleans, lists, objects, null.

    Raises:
        DatasetError: it cannot be read, or holds something else.
        MissingExtra: the parser of such files is not installed.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} must be UTF-8, got an {error.reason}; convert the file") from error
    if len(data) > _MAX_BYTES:
        raise DatasetError(f"{path} must be at most 1 MiB to be a configuration, got more; check the path")
    try:
        config = _parsed(text, path.suffix.lower())
        values = 0
        open_values: list[tuple[Any, int]] = [(config, 0)]
        while open_values:
            value, depth = open_values.pop()
            values += 1
            _check_value(value, depth, values)
            items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
            if isinstance(items, list):
                open_values.extend((item, depth + 1) for item in items)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} must be a configuration, got: {_one_line(error)}; check the file") from error
    return config


def _parsed(text: str, suffix: str) -> dict[str, Any]:
    if suffix == ".toml":
        toml = require("tomllib" if sys.version_info >= (3, 11) else "tomli", _WHERE, extra="tables")
        config: Any = toml.loads(text)
    elif suffix == ".json":
        config = json.loads(text)
    else:
        yaml = require("yaml", _WHERE, extra="tables")
        plain = {
            first: [(tag, form) for tag, form in forms if not tag.endswith(":timestamp")]
            for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        loader = type("Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": plain})  # dates stay text
        try:
            config = yaml.load(text, Loader=loader)
        except (yaml.YAMLError, LookupError, AttributeError, TypeError) as error:  # the latter for odd tagged values
            raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(config, dict):
        raise ValueError(f"{type(config).__name__}, not an object with keys")
    return config


def _check_value(value: Any, depth: int, values: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"values nest deeper than {_MAX_DEPTH} levels")
    if values > _MAX_VALUES:
        raise ValueError(f"more than {_MAX_VALUES:,} values")
    if isinstance(value, str) and not is_clean(value):
        raise ValueError("text with a NUL byte or half a surrogate pair")
    if not (value is None or isinstance(value, (str, bool, int, float, list, dict))):
        raise ValueError(f"a value of the kind {type(value).__name__}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _holds_object(path: Path) -> bool:
    """Whether a JSON file starts as an object does, and is no larger than a configuration may be."""
    if path.stat().st_size > _MAX_BYTES:
        return False
    with open(path, "rb") as file:
        return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file that a configuration names, with a value for each clip.

    Raises:
        ClipError: bad_text: it cannot be read, is larger than 256 MiB, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_OBJECT_BYTES + 1)
        if len(data) > _MAX_OBJECT_BYTES:
            raise ClipError("bad_text", f"{path.name} is longer than 256 MiB")
        found = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ClipError("bad_text", f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ClipError("bad_text", f"{path.name} is not JSON: {_one_line(error)}") from error
    if not isinstance(found, dict):
        raise ClipError("bad_text", f"{path.name} is {type(found).__name__}, not an object with a value for each file")
    return found


def save_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write what load_config returned, or a changed copy of it; keys keep their order, comments are not known.

    Raises:
        DatasetError: the kind of file has no form for a value (null in TOML).
    """
    suffix = path.suffix.lower()
    if suffix == ".toml":
        text = _toml_table((), config)
    elif suffix == ".json":
        text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    else:
        yaml = require("yaml", _WHERE, extra="tables")
        dumper = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
        dumper.add_representer(str, _yaml_text)
        text = yaml.dump(config, Dumper=dumper, sort_keys=False, allow_unicode=True, width=1000)
    with published(path) as temporary, open(temporary, "x", encoding="utf-8", newline="") as file:
        file.write(text)


def _yaml_text(dumper: Any, text: str) -> Any:
    """A scalar; in double quotes, with escapes, where PyYAML would write a line end that it reads as a space."""
    style = '"' if _LINE_ENDS & set(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _toml_table(name: tuple[str, ...], table: Mapping[str, Any]) -> str:
    """A table with its values first and its tables after them, as TOML wants."""
    inner = {key: value for key, value in table.items() if isinstance(value, dict) or _is_tables(value)}
    lines = [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in table.items() if key not in inner]
    text = "".join(line + "\n" for line in lines)
    for key, value in inner.items():
        path = (*name, key)
        title = ".".join(map(_toml_key, path))
        for each in value if isinstance(value, list) else [value]:
            brackets = f"[[{title}]]" if isinstance(value, list) else f"[{title}]"
            text += f"\n{brackets}\n{_toml_table(path, each)}"
    return text


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _toml_text(key)


def _toml_text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _toml_text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml_key(k)} = {_toml_value(v)}' for k, v in value.items())}}}"
    raise DatasetError(f"TOML has no value for {value!r}")


def integers(value: Any) -> tuple[int, ...]:
    """The whole numbers above 0 of a number or a list, ascending; anything else counts as not stated."""
    given: Sequence[Any] = value if isinstance(value, list) else [value]
    return tuple(sorted({item for item in given if isinstance(item, int) and not isinstance(item, bool) and item > 0}))


def size(value: Any) -> tuple[int, int] | None:
    """(width, height) of a pair, or of one number for a square; None for anything else."""
    pair = value if isinstance(value, list) else [value, value]
    if len(pair) != 2 or not all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in pair):
        return None
    return (round(pair[0]), round(pair[1])) if all(math.isfinite(item) and item >= 1 for item in pair) else None


def number(value: Any, default: float | None = None) -> float | None:
    """A finite number above 0, or the default."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if plain and math.isfinite(value) and value > 0 else default


def refused(name: str, text: Any, error: ClipError, part: int | None = None) -> Row:
    """The row that stands for a folder or table of a configuration that cannot be read."""
    written = text if isinstance(text, str) else ""
    return Row(written, name, problem=(error.reason, error.detail), part=part)


class Selected:
    """The clips of a subset, as the entries of a configuration take them.

    Args:
        subset: selected clips whose videos are in place.
        guard: of the dataset.
        out: folder that is written to.
    """

    def __init__(self, subset: Subset, guard: PathGuard, out: Path) -> None:
        self._guard, self._subset = guard, subset
        self._final = subset.final or Path(os.path.abspath(out))
        self._places = {clip_id: at for at, clip_id in enumerate(subset.ids)}
        self._left = set(self._places)

    def of(self, rows: Iterable[Row | Unread | Part]) -> dict[str, Row]:
        """The selected ones of an entry's rows, by clip id and in their order."""
        found: dict[str, Row] = {}
        for row in rows:
            if not isinstance(row, Row) or row.problem is not None:
                continue
            try:
                clip_id = id_of(row, self._guard)
            except ClipError:
                continue
            if clip_id in self._places:
                found.setdefault(clip_id, row)
                self._left.discard(clip_id)
        return found

    def in_order(self, ids: Iterable[str]) -> list[str]:
        """Clip ids in the order of the selection."""
        return sorted(ids, key=self._places.__getitem__)

    def file(self, clip_id: str) -> str:
        """A clip's video, relative to the selection."""
        return self._subset.files[self._places[clip_id]]

    def scores(self, clip_id: str) -> Mapping[str, float | int | str]:
        """A clip's score columns; cheap in the order of the selection."""
        return self._subset.rows[self._places[clip_id]].scores

    def folder(self, folder: Path) -> str:
        """Where the files of a folder of the dataset lie in the selection, relative to it; empty for all of it."""
        return self._guard.name_in(folder)

    def final(self, name: str) -> str:
        """The absolute path that a file or folder of the selection has once it is whole."""
        return os.path.join(self._final, name).rstrip(os.sep)

    def check(self, source: Path) -> None:
        """Refuse a selection whose clips no entry holds any more.

        Raises:
            DatasetError: the configuration or what it names has changed.
        """
        if self._left:
            raise DatasetError(
                f"{source} no longer lists every selected clip: {min(self._left)!r} is missing ({len(self._left)} in "
                "all); restore what was read"
            )


def at_home(entry: Mapping[str, Any], keys: Iterable[str], guard: PathGuard) -> dict[str, Any]:
    """An entry with some of its paths absolute, for a file that lies elsewhere; lists of paths too."""

    def absolute(value: Any) -> Any:
        if isinstance(value, list):
            return [absolute(item) for item in value]
        return os.path.join(guard.root, value) if isinstance(value, str) and value else value

    names = set(keys)
    return {key: absolute(value) if key in names else value for key, value in entry.items()}
