"""From a --model value to an adapter."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from motive.adapters import families, load_adapter, registry
from motive.adapters.toy import ToyAdapter
from motive.adapters.wan import WanAdapter
from motive.errors import ModelError, OptionError


class OtherAdapter(ToyAdapter):
    """Stands for a family of another package."""

    family = "other"
    transformer_classes = ("OtherTransformer",)

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder


def offer(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    point = EntryPoint(name, value, registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])


def test_names_and_folders_find_their_family(tiny_wan: Path) -> None:
    assert type(load_adapter("toy")) is ToyAdapter
    assert type(load_adapter(tiny_wan)) is WanAdapter
    assert type(load_adapter(str(tiny_wan))) is WanAdapter
    assert {"toy", "wan"} <= set(families())


def test_another_package_adds_a_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text('{"_class_name": "OtherTransformer"}')
    with pytest.raises(ModelError, match=r"transformer must be one of .*WanTransformer3DModel, .*got OtherTransformer"):
        load_adapter(tmp_path)
    offer(monkeypatch, "other", f"{__name__}:OtherAdapter")
    adapter = load_adapter(tmp_path)
    assert type(adapter).__name__ == "OtherAdapter"
    with pytest.raises(OptionError, match="got device"):
        load_adapter(tmp_path, device="cpu")


def test_another_package_cannot_replace_a_built_in_family(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "toy", "nowhere:Nothing")
    assert families()["toy"] is ToyAdapter


@pytest.mark.parametrize("value", ["nowhere_at_all:Nothing", "motive.errors:NoSuchName", "motive.errors:ModelError"])
def test_a_broken_entry_point_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    offer(monkeypatch, "broken", value)
    with pytest.raises(ModelError, match="entry point broken must be"):
        families()


@pytest.mark.parametrize("name", ["nope", "", "/no/such/folder", "a/b/c", "../x", "./x"])
def test_what_is_nothing_is_refused_without_the_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_fetch", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(ModelError, match="load_adapter: "):
        load_adapter(name)


def test_a_hub_id_is_fetched_without_pickles_and_code(monkeypatch: pytest.MonkeyPatch, tiny_wan: Path) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tiny_wan)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert type(load_adapter("owner/model", revision="abc", local_files_only=True)) is WanAdapter
    assert asked["name"] == "owner/model"
    assert asked["revision"] == "abc"
    assert asked["local_files_only"] is True
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in asked["allow_patterns"])


def test_a_hub_id_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="owner/absent must be on the hub or in its local cache"):
        load_adapter("owner/absent", local_files_only=True)


def test_an_error_of_the_http_library_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Broken(registry._transport_errors(huggingface_hub)[0]):  # type: ignore[misc]
        pass

    def download(*_: Any, **__: Any) -> str:
        raise Broken("connection lost")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelError, match="connection lost"):
        load_adapter("owner/model")


def test_a_revision_of_a_folder_is_refused(tiny_wan: Path) -> None:
    with pytest.raises(OptionError, match="revision must be left out"):
        load_adapter(tiny_wan, revision="main")
