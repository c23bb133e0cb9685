"""``motive data check``: a dataset's table of counts and problems, before any GPU is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from motive.adapters import load_adapter
from motive.data import ClipSpec, read_dataset
from motive.data.check.result import DatasetCheck
from motive.data.check.survey import Look, survey
from motive.data.video.buckets import BucketConfig
from motive.errors import ConfigError
from motive.indexing.clip_specs import clip_specs_of, specs_without_model
from motive.indexing.config import repeated
from motive.progress import Bar


@dataclass(frozen=True)
class CheckConfig:
    """Settings of motive.check_dataset.

    Attributes:
        model: model whose clip spec is taken: ``toy``, a local diffusers directory, or a hub id; with base, a transformer
            alone. Without one it is 81 frames of 832x480 at 16 fps.
        base: diffusers directory or hub id of the pipeline that the model is a transformer of.
        revision: branch, tag or commit of a hub id.
        clip_spec: rate, length and size that clips would be brought to; None takes the model's own.
        buckets: sizes and lengths that clips would be brought to, each to the one that suits it; empty for one clip spec.
        headers: open each video and read its header and first frame. Without this flag it is done for datasets of up to
            2,000 clips; larger ones are judged by their table and the file system alone.
        decode: decode the frames of every video that indexing would take, and look for near-duplicate clips.
        decode_threads: videos opened at the same time, each in a separate process.
        dataset_format: reader to use, or ``auto``.
        root: folder that the clips' files lie in, where that is not the folder of the table; may be repeated.
        path_map: OLD=NEW: paths that start with OLD, on another machine, start with the folder NEW here; may be
            repeated.
        follow_links: take clips that are symbolic links out of the dataset's folder, as hub caches have them.
        shard_cache: folder that shards at addresses (https://, s3://) are fetched to, each once; None is motive/shards in
            the user's cache folder.
    """

    model: str | None = None
    base: str | None = None
    revision: str | None = None
    clip_spec: ClipSpec | None = None
    buckets: BucketConfig = field(default_factory=BucketConfig)
    headers: bool | None = None
    decode: bool = False
    decode_threads: int = 2
    dataset_format: str = "auto"
    root: tuple[str, ...] = repeated()
    path_map: tuple[str, ...] = repeated()
    follow_links: bool = False
    shard_cache: str | None = None

    def __post_init__(self) -> None:
        if self.decode_threads < 1:
            raise ConfigError(
                "CheckConfig", f"{{decode_threads}} must be at least 1, got {self.decode_threads}; give a number"
            )
        if self.base is not None and self.model is None:
            raise ConfigError("CheckConfig", "{base} must be left out without {model}; name the model")
        if self.decode and self.headers is False:
            raise ConfigError("CheckConfig", "{headers} must not be off with {decode}, which opens every video")


def check_dataset(
    dataset: Path | str, *, config: CheckConfig | None = None, show_progress: bool = False
) -> DatasetCheck:
    """Look a dataset over without a model or a GPU: counts, shapes, captions, duplicates, unreadable files.

    Args:
        dataset: folder of videos or a metadata file.
        config: settings; default CheckConfig().
        show_progress: draw a progress bar on stderr while videos are opened.

    Raises:
        DatasetError: there is no dataset, or its table cannot be read.
        OptionError: a folder does not exist, or the model refuses a size or length.
    """
    config = config or CheckConfig()
    found = read_dataset(
        dataset,
        config.dataset_format,
        root=config.root or None,
        path_map=config.path_map,
        follow_links=config.follow_links,
        shard_cache=config.shard_cache,
        show_progress=show_progress,
    )
    if config.model is None:
        clip_specs = specs_without_model(config.clip_spec, config.buckets, found.parts)
    else:
        adapter = load_adapter(config.model, base=config.base, revision=config.revision, device="cpu")
        clip_specs, _ = clip_specs_of(adapter, config.clip_spec, config.buckets, found.parts)
    label = "decode" if config.decode else "headers"
    with Bar(None, label, shown=show_progress) as bar:
        done = 0

        def on_opened(total: int) -> None:
            nonlocal done
            done += 1
            bar.to(done, total)

        look = Look(config.headers, config.decode, config.decode_threads, on_opened)
        return survey(found, clip_specs, look)
