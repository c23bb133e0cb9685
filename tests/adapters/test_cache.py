"""The cache of encoded clips and captions."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motive.adapters import Cache
from motive.errors import OptionError, StoreError

KEY = {
    "content_hash": "abc",
    "clip_spec": {"fps": 16.0, "frames": 9},
    "encoder": "f00",
    "settings": {"dtype": "float32"},
}


def entry(seed: int = 0) -> dict[str, torch.Tensor]:
    return {"latents": torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(seed))}


def files(cache: Cache) -> list[Path]:
    return [path for path in cache.directory.rglob("*") if path.is_file()]


def test_what_is_put_comes_back_bit_for_bit(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.get("latents", KEY) is None
    tensors = {**entry(), "half": torch.randn(3).bfloat16(), "whole": torch.arange(4), "empty": torch.zeros(0, 5)}
    cache.put("latents", KEY, tensors)
    got = Cache(tmp_path / "cache").get("latents", KEY)
    assert got is not None
    assert got.keys() == tensors.keys()
    for name, value in tensors.items():
        assert got[name].dtype == value.dtype, name
        assert torch.equal(got[name], value), name


def test_every_field_of_the_key_matters_and_their_order_does_not(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("latents", KEY, entry())
    assert cache.get("latents", dict(reversed(KEY.items()))) is not None
    others = [
        {**KEY, "content_hash": "abd"},
        {**KEY, "clip_spec": {"fps": 16.0, "frames": 13}},
        {**KEY, "encoder": "f01"},
        {**KEY, "settings": {"dtype": "bfloat16"}},
        {**KEY, "more": None},
        {k: v for k, v in KEY.items() if k != "encoder"},
    ]
    for other in others:
        assert cache.get("latents", other) is None, other
    assert cache.get("text", KEY) is None


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 6), used=st.integers(0, 6), columns=st.integers(0, 3))
def test_padding_is_left_out_of_the_file_and_restored(
    tmp_path_factory: pytest.TempPathFactory, rows: int, used: int, columns: int
) -> None:
    text = torch.ones(rows, columns)
    text[used:] = 0
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.put("text", KEY, {"text": text})
    got = cache.get("text", KEY)
    assert got is not None
    assert torch.equal(got["text"], text)
    assert got["text"].shape == text.shape


def test_a_short_caption_takes_little_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    text = torch.zeros(512, 4096)
    text[:20] = 1
    cache.put("text", KEY, {"text": text})
    assert files(cache)[0].stat().st_size < 400_000


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 64, None])
def test_a_damaged_entry_counts_as_absent_and_is_rewritten(tmp_path: Path, damage: bytes | None) -> None:
    cache = Cache(tmp_path)
    cache.put("latents", KEY, entry())
    path = cache.path("latents", KEY)
    path.write_bytes(path.read_bytes()[:-5] if damage is None else damage)
    assert cache.get("latents", KEY) is None
    cache.put("latents", KEY, entry(1))
    got = cache.get("latents", KEY)
    assert got is not None
    assert torch.equal(got["latents"], entry(1)["latents"])


def test_an_entry_under_the_wrong_name_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("latents", KEY, entry())
    other = {**KEY, "content_hash": "other"}
    cache.path("latents", other).parent.mkdir(parents=True, exist_ok=True)
    cache.path("latents", KEY).rename(cache.path("latents", other))
    assert cache.get("latents", other) is None


def test_writers_at_the_same_time_leave_one_whole_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    threads = [threading.Thread(target=cache.put, args=("latents", KEY, entry(i))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = cache.get("latents", KEY)
    assert got is not None
    assert any(torch.equal(got["latents"], entry(i)["latents"]) for i in range(8))
    assert len(files(cache)) == 1, "temporary files were left behind"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("motive.publish.os.replace", fail)
    with pytest.raises(StoreError, match=r"cannot write the cache .*: disk full"):
        cache.put("latents", KEY, entry())
    assert files(cache) == []


def test_keys_must_be_json_and_kinds_known(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Cache: key_fields must be JSON"):
        Cache(tmp_path).get("text", {"x": torch.zeros(1)})
    with pytest.raises(OptionError, match="Cache: key_fields must be JSON"):
        Cache(tmp_path).get("text", {"x": float("nan")})
    with pytest.raises(OptionError, match="Cache: kind must be one of latents, mask, text"):
        Cache(tmp_path).get("gradients", {})
