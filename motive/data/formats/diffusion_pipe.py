"""diffusion-pipe's dataset configuration: a TOML file with one ``[[directory]]`` for each folder of clips.

Read in examples/dataset.toml, examples/cosmos_dataset.toml and utils/dataset.py of tdrussell/diffusion-pipe (commit
8f83dbf, 2026-08-20).
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motive.data.base import Clip, Part, Unread
from motive.data.formats.archive import check_parts, members, part_of
from motive.data.formats.configs import (
    ConfigFormat,
    Selected,
    at_home,
    integers,
    load_config,
    number,
    read_object,
    refused,
    save_config,
    size,
)
from motive.data.formats.folder import VIDEO_SUFFIXES, is_video
from motive.data.formats.listing import Listing, caption_in, copy_caption, list_folder
from motive.data.formats.reader import Detection, Row, Subset
from motive.data.media import Media
from motive.data.paths import PathGuard, is_clean, printable
from motive.errors import ClipError, DatasetError
from motive.publish import published

CAPTIONS = "captions.json"
KEYS = frozenset(
    {
        "ar_buckets", "cache_shuffle_delimiter", "cache_shuffle_num", "caption_prefix", "enable_ar_bucket",
        "frame_buckets", "max_ar", "min_ar", "num_ar_buckets", "num_repeats", "online_captions", "resolutions",
        "shuffle_metadata", "shuffle_tags", "size_buckets", "skip_empty_caption",
    }
)  # fmt: skip
_TOP_KEYS = KEYS | {"directory", "subsample_ratio"}
_ENTRY_KEYS = KEYS | {"control_path", "default_mask_file", "mask_path", "path"}
_HOME_PATHS = ("control_path", "default_mask_file", "mask_path")


class DiffusionPipe(ConfigFormat):
    """Every video directly in the ``[[directory]]`` folders, and in tar files there.

    A caption is that of ``captions.json`` where the folder has one, the first of several, else the text file of the
    video's name, after ``caption_prefix``. A video without one is a failure, since diffusion-pipe skips it, unless
    ``skip_empty_caption`` is false. Videos in tar files have the captions that ``captions.json`` gives for their member's
    name, and are separate files in a selection.
    """

    name = "diffusion-pipe"
    priority = 7
    suffixes = (".toml",)
    called = "a dataset configuration of diffusion-pipe"
    reads_archives = True

    def owns(self, config: Mapping[str, Any]) -> bool:
        entries = config.get("directory")
        return isinstance(entries, list) and any(isinstance(entry, dict) and "path" in entry for entry in entries)

    def detect(self, path: Path, named: bool) -> Detection | None:
        if path.is_file() and path.suffix.lower() in self.suffixes:
            config = load_config(path)
            if isinstance(config.get("dataset"), str) and isinstance(config.get("model"), dict):
                raise DatasetError(
                    f"{path} is the configuration of a training run of diffusion-pipe; give the path of its dataset's, "
                    f"which it calls {config['dataset']}"
                )
        return super().detect(path, named)

    def rows(self, found: Detection, guard: PathGuard) -> Iterator[Row | Unread | Part]:
        config = load_config(found.source or found.path)
        for key in config:
            if key not in _TOP_KEYS:
                yield Unread(key, "diffusion-pipe knows no such key and ignores it")
        for index, (entry, settings) in enumerate(_entries(config)):
            name = f"directory[{index}] {entry.get('path', '')}"
            for key in entry:
                if key not in _ENTRY_KEYS:
                    yield Unread(f"directory[{index}].{key}", "diffusion-pipe knows no such key and ignores it")
            part = _part(name, settings)
            yield part
            if not part.buckets and not part.frames:
                yield Unread(f"videos of {name}", "diffusion-pipe drops them: no bucket has more than one frame")
            yield from _entry_rows(guard, name, settings, index)

    def check_unchanged(self, clips: Sequence[Clip]) -> None:
        """Refuse videos that no longer lie where they did in their tar files."""
        check_parts(clips)

    def write(self, subset: Subset, out: Path) -> None:
        """Write the configuration with paths into the selection, and the captions of its clips.

        Folders without a selected clip are left out; those of masks and control clips stay, with absolute paths.
        """
        source = subset.dataset.source
        if source is None:
            raise DatasetError(f"the dataset names no configuration for format {self.name}; read it again")
        config, guard = load_config(source), PathGuard.of(source.parent, subset.dataset.options)
        selected, entries = Selected(subset, guard, out), []
        captions: dict[str, dict[str, Any]] = {}
        for entry, settings in _entries(config):
            try:
                folder = _Folder.of(guard, settings)
            except ClipError:  # it gave no clips either
                continue
            kept = selected.of(row for row in folder.rows(guard, settings, 0) if isinstance(row, Row))
            if not kept:
                continue
            places: dict[str, None] = {}  # a folder for each tar file, beside that of the files
            for clip_id, row in kept.items():
                inside, name = posixpath.split(selected.file(clip_id))
                place = selected.folder(folder.path) if isinstance(row.media, str) else inside
                places.setdefault(place)
                texts = folder.texts(row.media)
                if folder.captions is None and isinstance(row.media, str):
                    copy_caption(Path(row.media), out / selected.file(clip_id), ".txt")
                elif texts is not None:
                    captions.setdefault(place, {})[name] = texts
            whole = at_home(entry, _HOME_PATHS, guard)
            entries += [{**whole, "path": selected.final(place)} for place in places]
        selected.check(source)
        for place, texts in captions.items():
            with published(out / place / CAPTIONS) as temporary, open(temporary, "x", encoding="utf-8") as file:
                json.dump(texts, file, ensure_ascii=False, indent=1)
        save_config(out / source.name, {**config, "directory": entries})


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each entry as it is written, and with the top-level settings that apply to it."""
    general = {key: value for key, value in config.items() if key in KEYS}
    for entry in config["directory"]:
        plain = entry if isinstance(entry, dict) else {}
        yield plain, {**general, **plain}


def _part(name: str, settings: Mapping[str, Any]) -> Part:
    buckets = settings.get("size_buckets")
    shapes = [shape for shape in buckets if _is_shape(shape)] if isinstance(buckets, list) else []
    resolutions = settings.get("resolutions", [])
    sizes = [size(item) for item in resolutions] if isinstance(resolutions, list) else []
    keeps = settings.get("enable_ar_bucket") is True
    if not keeps:  # then there is one aspect ratio, 1
        sides = [None if pair is None else round((pair[0] * pair[1]) ** 0.5) for pair in sizes]
        sizes = [None if side is None else (side, side) for side in sides]
    return Part(
        name=name,
        frames=() if shapes else tuple(count for count in integers(settings.get("frame_buckets", [])) if count > 1),
        sizes=() if shapes else tuple(dict.fromkeys(pair for pair in sizes if pair is not None)),
        keeps_aspect=keeps and not shapes,
        aspect_ratios=_aspect_ratios(settings) if keeps and not shapes else (),
        buckets=tuple((shape[0], shape[1], shape[2]) for shape in shapes),
        repeats=number(settings.get("num_repeats"), 1) or 1,
        settings=settings,
    )


def _is_shape(shape: Any) -> bool:
    """Whether a size bucket is one of videos; those of one frame are for images."""
    plain = isinstance(shape, list) and len(shape) == 3
    return plain and all(type(item) is int and item > 0 for item in shape) and shape[2] > 1


def _aspect_ratios(settings: Mapping[str, Any]) -> tuple[float, ...]:
    listed = settings.get("ar_buckets")
    if isinstance(listed, list) and listed:
        pairs = [item if isinstance(item, list) and len(item) == 2 else [item, 1] for item in listed]
        numbers = [(number(pair[0]), number(pair[1])) for pair in pairs]
        return tuple(sorted(width / height for width, height in numbers if width and height))
    least, most = number(settings.get("min_ar")), number(settings.get("max_ar"))
    count = settings.get("num_ar_buckets")
    if not least or not most or type(count) is not int or not 0 < count <= 1000:
        return ()
    return tuple(least * (most / least) ** (step / max(count - 1, 1)) for step in range(count))


@dataclass(frozen=True)
class _Folder:
    """A folder of an entry.

    Attributes:
        path: absolute.
        captions: file name -> captions, of captions.json; None without that file.
        listing: what it holds.
        shards: names of its tar files.
    """

    path: Path
    captions: Mapping[str, Sequence[str]] | None
    listing: Listing
    shards: Sequence[str]

    @classmethod
    def of(cls, guard: PathGuard, settings: Mapping[str, Any]) -> _Folder:
        written = settings.get("path")
        if not isinstance(written, str):
            raise ClipError("bad_row", f"path is {type(written).__name__}, not text")
        folder = guard.folder(written)
        table = folder / CAPTIONS
        there = os.path.lexists(table)
        captions = _captions(guard.file(guard.relative(str(table)))) if there else None
        with os.scandir(folder) as entries:
            shards = sorted(entry.name for entry in entries if entry.name.endswith(".tar") and entry.is_file())
        return cls(folder, captions, list_folder(folder, VIDEO_SUFFIXES, enter=False), shards)

    def rows(self, guard: PathGuard, settings: Mapping[str, Any], part: int) -> Iterator[Row | Unread]:
        for name in self.listing.videos:
            media, caption, problem = os.path.join(self.path, name), None, None
            try:
                if self.captions is None:
                    caption = caption_in(guard, os.path.splitext(media)[0] + ".txt")
                else:
                    caption = next(iter(self.texts(media) or ()), None)
            except ClipError as error:
                problem = (error.reason, error.detail)
            yield _row(media, name, caption, problem, settings, part)
        for shard in self.shards:
            yield from self._shard_rows(guard, shard, settings, part)

    def texts(self, media: str | Media) -> Sequence[str] | None:
        """The captions that captions.json has for a video."""
        captions = self.captions or {}
        if isinstance(media, str):
            return captions.get(os.path.basename(media))
        return captions.get(media.name, captions.get(f"./{media.name}"))

    def _shard_rows(
        self, guard: PathGuard, shard: str, settings: Mapping[str, Any], part: int
    ) -> Iterator[Row | Unread]:
        """Rows of a tar file; a row with the problem where it can be read up to a place only."""
        others = 0
        try:
            written = guard.relative(os.path.join(self.path, shard))
            file = guard.file(written)
            inner = PathGuard(file)
            for member in members(file):
                if not is_video(member.name):
                    others += 1
                    continue
                label = f"{written}/{member.name}"
                try:
                    if member.problem is not None:
                        raise ClipError(*member.problem)
                    media = part_of(file, inner.relative(member.name), member)
                except ClipError as error:
                    yield Row(label, label, problem=(error.reason, error.detail), part=part)
                    continue
                caption = next(iter(self.texts(media) or ()), None)
                yield _row(media, f"{written}/{media.name}", caption, None, settings, part)
        except ClipError as error:
            yield Row(shard, shard, problem=(error.reason, error.detail), part=part)
        if others:
            yield Unread(
                f"{others} members of {printable(shard)} that are no videos", "only videos have motion", others
            )


def _row(
    media: str | Media,
    name: str,
    caption: str | None,
    problem: tuple[str, str] | None,
    settings: Mapping[str, Any],
    part: int,
) -> Row:
    prefix = settings.get("caption_prefix", "")
    prefix = prefix if isinstance(prefix, str) else ""
    if caption is None and problem is None and settings.get("skip_empty_caption", True) is not False:
        problem = ("no_caption", "diffusion-pipe skips videos without a caption unless skip_empty_caption is false")
    return Row(media, printable(name), (prefix + (caption or "")).strip() or None, problem=problem, part=part)


def _captions(table: Path) -> dict[str, list[str]]:
    """The captions of a folder, by file name; a file whose captions are no list of texts has none."""
    lists = {name: texts for name, texts in read_object(table).items() if isinstance(texts, list)}
    return {name: list(map(str, texts)) for name, texts in lists.items() if _are_texts(texts)}


def _are_texts(texts: Sequence[Any]) -> bool:
    return all(isinstance(text, str) and is_clean(text) for text in texts)


def _entry_rows(guard: PathGuard, name: str, settings: Mapping[str, Any], part: int) -> Iterator[Row | Unread]:
    try:
        folder = _Folder.of(guard, settings)
    except ClipError as error:
        yield refused(name, settings.get("path"), error, part)
        return
    several = 0
    for row in folder.rows(guard, settings, part):
        several += isinstance(row, Row) and len(folder.texts(row.media) or ()) > 1
        yield row
    if several:
        yield Unread(
            f"further captions of {several} videos in {name}", "the first of each is used; a selection keeps all"
        )
    yield from folder.listing.unread(name, "diffusion-pipe")
    if os.path.lexists(folder.path / "cache"):
        yield Unread(f"cache of {name}", "precomputed latents are not read; the videos are encoded again")
