"""Shards at addresses: each is fetched once and whole, whatever the server does, and reads as it would from a folder."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from motive.data import Dataset, SubsetRow, read_dataset, write_subset
from motive.data.shards import transfer
from motive.data.shards.cache import RemoteShards, default_cache
from motive.errors import DatasetError, OptionError
from motive.store.source import Source
from tests.data.http_server import Site, http_server
from tests.data.test_webdataset import content, shard
from tests.faults.s3 import Faults, s3_server

pytestmark = pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="needs fsspec[http]")
needs_s3 = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("moto", "s3fs", "flask", "flask_cors")),
    reason="needs moto[server] and s3fs",
)
SECRET = "X-Amz-Signature=0123abcdef&token=hunter2"
BIG = b"x" * 3_000_000
"""Longer than what a line that is cut lets through."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_FIRST_WAIT_S", 1e-3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shards as they lie at the server."""
    path = tmp_path / "there/set one"
    path.mkdir(parents=True)
    for number in range(3):
        entries = [("a.mp4", BIG + b"%d" % number), ("a.json", b'{"caption": "c%d"}' % number)]
        shard(path / f"s-{number:02d}.tar", entries)
    return path


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    made = Site({f"set one/{file.name}": file.read_bytes() for file in folder.iterdir()})
    with http_server(made):
        yield made


def test_it_reads_as_the_folder_does(folder: Path, site: Site, tmp_path: Path) -> None:
    address = f"{site.address}/set%20one/s-{{00..02}}.tar"
    found, local = read_dataset(address, shard_cache=tmp_path / "cache"), read_dataset(folder)
    assert [clip.clip_id for clip in found.clips] == [clip.clip_id for clip in local.clips]
    assert [clip.path.relative_to(found.root) for clip in found.clips] == [
        clip.path.relative_to(folder) for clip in local.clips
    ]
    assert [(clip.caption, clip.columns) for clip in found.clips] == [(c.caption, c.columns) for c in local.clips]
    assert content(found) == content(local)
    assert (found.location, found.format, found.failures) == (address, "webdataset", ())
    host = site.address.removeprefix("http://")
    assert found.root == tmp_path / "cache/http" / host / "set one"


def test_each_shard_is_fetched_once(site: Site, tmp_path: Path) -> None:
    address = f"{site.address}/set%20one/s-{{00..02}}.tar"
    first = read_dataset(address, shard_cache=tmp_path)
    assert all(site.gets(path) == 1 for path in site.files)
    assert site.sent == {path: len(data) for path, data in site.files.items()}
    seen = dict(site.seen)
    assert read_dataset(address, shard_cache=tmp_path) == first
    assert read_dataset(f"{site.address}/set%20one/s-01.tar", shard_cache=tmp_path).clips == first.clips[1:2]
    assert dict(site.seen) == seen, "nobody is asked again"
    os.truncate(first.root / "s-01.tar", 1000)
    os.unlink(first.root / "s-02.tar")
    assert read_dataset(address, shard_cache=tmp_path) == first
    assert [site.gets(f"set one/s-{n:02d}.tar") for n in range(3)] == [1, 2, 2], "what is not whole is fetched again"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_is_cut_and_a_server_that_fails(site: Site, tmp_path: Path, ranges: bool) -> None:
    site.ranges = ranges
    cut = 2_000_000
    site.faults = {"set one/s-00.tar": [503, cut, 429, 500], "set one/s-01.tar": [cut], "set one/s-02.tar": [408]}
    found = read_dataset(f"{site.address}/set%20one/s-{{00..02}}.tar", shard_cache=tmp_path)
    assert [data[-1:] for data in content(found)] == [b"0", b"1", b"2"]
    size = len(site.files["set one/s-01.tar"])
    sent = site.sent["set one/s-01.tar"]
    assert size <= sent < size + cut if ranges else sent == size + cut, "by ranges, what arrived is not sent again"
    assert not list(found.root.glob(".*.part*")), "nothing unfinished stays"


def test_an_interrupted_run_continues(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "ATTEMPTS", 1)
    path, address = "set one/s-00.tar", f"{site.address}/set%20one/s-00.tar"
    size = len(site.files[path])
    site.faults = {path: [2_000_000]}
    with pytest.raises(DatasetError, match=r"/set%20one/s-00\.tar: .*run again: what was fetched stays"):
        read_dataset(address, shard_cache=tmp_path / "cache")
    (part,) = tmp_path.rglob(".s-00.tar.part")
    held = part.stat().st_size
    assert 0 < held < size
    assert not list((tmp_path / "cache").rglob("s-00.tar")), "a shard is there whole or not at all"
    site.sent.clear()
    assert len(read_dataset(address, shard_cache=tmp_path / "cache").clips) == 1
    assert site.sent[path] == size - held


@pytest.mark.parametrize("etags", [True, False])
def test_another_version_is_not_joined_to_the_old_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, etags: bool
) -> None:
    site.etags = etags
    path, address = "set one/s-00.tar", f"{site.address}/set%20one/s-00.tar"
    site.faults = {path: [2_000_000]}
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "ATTEMPTS", 1)
        with pytest.raises(DatasetError):
            read_dataset(address, shard_cache=tmp_path)
    site.files[path] = shard(tmp_path / "new.tar", [("a.mp4", BIG[:-1] + b"new")]).read_bytes()
    (data,) = content(read_dataset(address, shard_cache=tmp_path))
    assert data == BIG[:-1] + b"new"


def test_a_file_that_changes_between_two_attempts(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "set one/s-00.tar"
    new = shard(tmp_path / "new.tar", [("a.mp4", BIG[:-1] + b"new")]).read_bytes()
    site.faults = {path: [2_000_000]}
    real = transfer.RemoteFile._write

    def write(self: transfer.RemoteFile, file: object, data: bytes) -> None:
        site.files[path] = new
        real(self, file, data)  # type: ignore[arg-type]

    monkeypatch.setattr(transfer.RemoteFile, "_write", write)
    (data,) = content(read_dataset(f"{site.address}/set%20one/s-00.tar", shard_cache=tmp_path))
    assert data == BIG[:-1] + b"new"


def test_what_is_wrong_is_said_before_anything_is_fetched(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        read_dataset(f"{site.address}/set%20one/s-{{00..04}}.tar", shard_cache=tmp_path)
    text = str(caught.value)
    assert "s-03.tar: there is no such file (404); check the address and the range of the pattern" in text
    assert "s-04.tar: there is no such file (404)" in text
    assert not site.sent
    site.signature = SECRET
    with pytest.raises(DatasetError, match=r"s-00\.tar: the server refuses access \(403\); check the credentials"):
        read_dataset(f"{site.address}/set%20one/s-00.tar?{SECRET}x", shard_cache=tmp_path)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with http_server(Site()) as address:
        pass
    with pytest.raises(DatasetError, match=r"x\.tar: .*check the address and the line"):
        read_dataset(f"{address}/x.tar?{SECRET}", shard_cache=tmp_path)


def test_a_server_that_never_answers(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        async_impl = True
        limits: ClassVar[list[float]] = []

        def invalidate_cache(self, path: str) -> None:
            return

        def info(self, path: str, timeout: float) -> object:
            self.limits.append(timeout)
            raise TimeoutError

    monkeypatch.setattr(transfer, "REQUEST_S", 0.05)
    monkeypatch.setattr(transfer, "file_system", lambda address, where: (Silent(), address))
    with pytest.raises(DatasetError, match=r"s-00\.tar: no answer in 0\.05 s; check the address and the line"):
        read_dataset(f"{site.address}/set%20one/s-00.tar", shard_cache=tmp_path)
    assert Silent.limits == [0.05] * transfer.ATTEMPTS


def test_several_processes_fetch_a_shard_once(site: Site, tmp_path: Path) -> None:
    """Threads stand for processes here: the lock is on the open file, which each has its own of."""
    address = f"{site.address}/set%20one/s-{{00..02}}.tar"
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: read_dataset(address, shard_cache=tmp_path), range(6)))
    assert all(dataset == found[0] for dataset in found)
    assert site.sent == {path: len(data) for path, data in site.files.items()}


def test_a_disk_that_is_too_small(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr("motive.data.shards.cache.shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        DatasetError, match=r"the 3 shards that are still to be fetched have 0\.0 GB, and .* free; give"
    ):
        read_dataset(f"{site.address}/set%20one/s-{{00..02}}.tar", shard_cache=tmp_path)
    assert not site.sent
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match="the shard cache must be a folder"):
        read_dataset(f"{site.address}/set%20one/s-00.tar", shard_cache=tmp_path / "file")


def texts_in(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tar"]
    return "\n".join([*map(str, folder.rglob("*")), *(file.read_text(errors="replace") for file in files)])


def test_credentials_are_written_nowhere(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG", "motive")
    site.signature = SECRET
    host = site.address.removeprefix("http://")
    address = f"http://user:pa55@{host}/set%20one/s-{{00..02}}.tar?{SECRET}"
    found = read_dataset(address, shard_cache=tmp_path / "cache", show_progress=True)
    assert len(found.clips) == 3
    assert found.location == f"http://{host}/set%20one/s-{{00..02}}.tar"
    seen = [texts_in(tmp_path / "cache"), caplog.text, *capfd.readouterr(), repr(found), repr(Source.of(found))]
    assert not any(secret in text for text in seen for secret in ("hunter2", "0123abcdef", "pa55"))
    again = read_dataset(str(found.location), shard_cache=tmp_path / "cache")
    assert again == found, "what is recorded is enough while the cache is there"


def test_signed_addresses_in_a_list(site: Site, tmp_path: Path) -> None:
    site.signature = SECRET
    lines = [f"{site.address}/set%20one/s-{number:02d}.tar?{SECRET}" for number in range(2)]
    (tmp_path / "shards.txt").write_text("\n".join(lines))
    found = read_dataset(tmp_path / "shards.txt", shard_cache=tmp_path / "cache")
    assert [clip.clip_id for clip in found.clips] == ["s-00.tar/a.mp4", "s-01.tar/a.mp4"]
    assert found.location == tmp_path / "shards.txt"


def test_a_selection_finds_the_shards_again(site: Site, tmp_path: Path) -> None:
    address = f"{site.address}/set%20one/s-{{00..02}}.tar"
    found = read_dataset(address, shard_cache=tmp_path / "cache")
    stored = Source.of(found).dataset(())
    rows = [SubsetRow(found.clips[1], {"score": 0.5})]
    file, sizes = found.root / "s-01.tar", {path: len(data) for path, data in site.files.items()}
    os.unlink(file)
    write_subset(stored, rows, tmp_path / "names", files="none", format="list")
    assert (tmp_path / "names/clips.txt").read_text() == f"tar://a.mp4::{site.address}/set%20one/s-01.tar\n"
    assert site.gets("set one/s-01.tar") == 1, "nothing is fetched for a list"
    needed = (tmp_path / "names/needed.csv").read_text().splitlines()
    size = sizes["set one/s-01.tar"]
    assert needed == [
        "file,file_bytes,clips,clip_bytes,address",
        f"s-01.tar,{size},1,{len(BIG) + 1},{site.address}/set%20one/s-01.tar",
    ]
    write_subset(stored, rows, tmp_path / "out", files="copy", format="folder")
    assert next((tmp_path / "out/videos").glob("*.mp4")).read_bytes() == BIG + b"1"
    assert [site.gets(f"set one/s-{n:02d}.tar") for n in range(3)] == [1, 2, 1], "the shard of the selection alone"
    write_subset(stored, rows, tmp_path / "same", files="copy")
    assert [clip.caption for clip in read_dataset(tmp_path / "same/shards").clips] == ["c1"]


def test_options_for_files_here(site: Site, tmp_path: Path) -> None:
    address = f"{site.address}/set%20one/s-00.tar"
    with pytest.raises(OptionError, match="root and path_map must be left out"):
        read_dataset(address, root=tmp_path, shard_cache=tmp_path)
    with pytest.raises(OptionError, match="format must be auto or webdataset"):
        read_dataset(address, "folder", shard_cache=tmp_path)
    with pytest.raises(DatasetError, match=r"each shard must be named once, got .*s-00\.tar twice"):
        read_dataset(f"{address}?a=1::{address}?a=2", shard_cache=tmp_path)
    with pytest.raises(DatasetError, match="must name a host and a file"):
        read_dataset("https://host/../../etc/x.tar", shard_cache=tmp_path)
    with pytest.raises(OptionError, match="one that fsspec knows"):
        read_dataset("nowhere://host/x.tar", shard_cache=tmp_path)


def test_the_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "motive/shards"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home/.cache/motive/shards"


def test_damaged_records_are_fetched_again(site: Site, tmp_path: Path) -> None:
    found = read_dataset(f"{site.address}/set%20one/s-00.tar", shard_cache=tmp_path)
    held = RemoteShards(found.root, {"s-00.tar": f"{site.address}/set%20one/s-00.tar"})
    for text in ("", "[]", '{"bytes": "x"}', '{"bytes": 1}'):
        (found.root / ".s-00.tar.json").write_text(text)
        assert not held.holds("s-00.tar")
        held.fetch()
        assert json.loads((found.root / ".s-00.tar.json").read_text())["bytes"] == held.bytes("s-00.tar")
        assert held.holds("s-00.tar")


@needs_s3
def test_shards_in_s3(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's server on this machine; afterwards one request in eight is refused, lost, cut or slow."""
    import s3fs

    monkeypatch.setattr(transfer, "_CHUNK_BYTES", 1 << 19)
    faults = Faults()
    with s3_server(faults) as bucket:
        system = s3fs.S3FileSystem()
        for file in folder.iterdir():
            system.pipe_file(f"{bucket}/set/{file.name}", file.read_bytes())
        address = f"{bucket}/set/s-{{00..02}}.tar"
        faults._random.seed(4)  # its first faults are none that takes seconds
        faults.share = 0.125
        found = read_dataset(address, shard_cache=tmp_path / "cache")
        faults.share = 0.0
        assert sum(faults.seen.values()) > 2
        local = read_dataset(folder)
        assert [clip.clip_id for clip in found.clips] == [clip.clip_id for clip in local.clips]
        assert content(found) == content(local)
        assert found.root == tmp_path / "cache/s3/faults/set"
        with pytest.raises(DatasetError, match=r"s3://faults/set/s-09\.tar: there is no such file \(404\)"):
            read_dataset(f"{bucket}/set/s-09.tar", shard_cache=tmp_path / "cache")
    check_again: Dataset = read_dataset(address, shard_cache=tmp_path / "cache")
    assert check_again == found, "without the server"
