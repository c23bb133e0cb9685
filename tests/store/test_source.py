"""A store takes clips of the dataset that it was created with, and of no other."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from motive.data import read_dataset
from motive.errors import OptionError
from motive.indexing.index import require_same_source
from motive.store import Origin, Source, Store


def shard(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in (("a.mp4", b"x"), ("a.json", b'{"id": 7}')):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_another_shard_of_the_same_folder_is_another_dataset(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    first, second = (read_dataset(shard(tmp_path / "set" / name)) for name in ("a.tar", "b.tar"))
    assert [clip.clip_id for clip in first.clips] == [clip.clip_id for clip in second.clips] == ["7"]
    store = Store.create(
        tmp_path / "store",
        identity={"projection": {}, "gradient": {}},
        columns_schema={"path": "string"},
        dim=4,
        origin=Origin(Source.of(first)),
    )
    require_same_source(store, first, "index")
    with pytest.raises(OptionError, match=r"holds clips of .*a\.tar, not of .*b\.tar; give another"):
        require_same_source(store, second, "index")
