"""The training loop."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import pytest
import torch

from motive.adapters import Conditioning, load_adapter
from motive.adapters.base import Expert
from motive.adapters.toy import KEPT, TEXT_DIM
from motive.config import to_json
from motive.errors import OptionError
from motive.toy.train import TrainConfig, encode_training_clips, main, train

ADAPTER = load_adapter("toy")


def small(seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return diffusers.WanTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=len(KEPT),
            out_channels=len(KEPT),
            text_dim=TEXT_DIM,
            freq_dim=32,
            ffn_dim=32,
            num_layers=1,
            rope_max_seq_len=16,
        ).eval()


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Conditioning]:
    latents, conditioning = encode_training_clips(ADAPTER, 11, seed=3)
    return latents[:, :, :2, :4, :4].contiguous(), conditioning


Tensor = torch.Tensor


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_loss_falls(data: tuple[Tensor, Conditioning]) -> None:
    record = train(ADAPTER, small(), *data, TrainConfig(steps=60, batch=8, lr=5e-3, warmup=5))
    assert record.losses[-1] < 0.75 * record.losses[0], f"losses {record.losses}"
    assert not record.diverged
    assert record.clips == 11
    json.dumps(to_json(record), allow_nan=False)


def test_training_repeats_and_leaves_the_random_state_and_the_data(data: tuple[Tensor, Conditioning]) -> None:
    state, before = torch.random.get_rng_state(), data[0].clone()
    models = [small(), small(), small()]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        train(ADAPTER, model, *data, TrainConfig(steps=4, batch=4, seed=seed))
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(data[0], before)
    assert not models[0].training
    assert all(p.grad is None for p in models[0].parameters())


def test_training_goes_on_from_given_weights(data: tuple[Tensor, Conditioning]) -> None:
    """Fine-tuning from a checkpoint: with a tiny learning rate the weights stay near where they were."""
    model = small(7)
    start = weights(model).clone()
    train(ADAPTER, model, *data, TrainConfig(steps=3, batch=2, lr=1e-6, warmup=0, ema=0))
    moved = (weights(model) - start).abs().max().item()
    assert 0 < moved < 1e-4


def test_the_average_lags_behind_the_last_weights(data: tuple[Tensor, Conditioning]) -> None:
    start = weights(small())
    ends = []
    for ema in (0.0, 0.9):
        model = small()
        train(ADAPTER, model, *data, TrainConfig(steps=12, batch=2, ema=ema, warmup=0))
        ends.append((weights(model) - start).norm().item())
    assert 0 < ends[1] < ends[0]


def test_a_parameter_that_needs_no_gradient_stays(data: tuple[Tensor, Conditioning]) -> None:
    model = small()
    frozen = model.get_parameter("proj_out.weight").requires_grad_(False)
    before = frozen.clone()
    train(ADAPTER, model, *data, TrainConfig(steps=2, batch=2))
    assert torch.equal(frozen, before)


def test_divergence_is_recorded_and_stops_the_run(data: tuple[Tensor, Conditioning]) -> None:
    latents = data[0].clone()
    latents[:] = float("nan")
    record = train(ADAPTER, small(), latents, data[1], TrainConfig(steps=5, batch=2))
    assert record.diverged
    assert len(record.losses) == 1


def test_progress_is_reported_each_step(data: tuple[Tensor, Conditioning]) -> None:
    seen: list[int] = []
    train(ADAPTER, small(), *data, TrainConfig(steps=3, batch=2), lambda step, loss: seen.append(step))
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("batch", 0), ("lr", 0.0), ("lr", float("nan")), ("ema", 1.0), ("sigma", "log"), ("seed", -1)],
)
def test_settings_are_checked(field: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"TrainConfig: {field} must be"):
        TrainConfig(**{field: value})  # type: ignore[arg-type]


def test_the_command_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    out = tmp_path / "new" / "toy"
    threads = str(torch.get_num_threads())
    assert main(["--out", str(out), "--steps", "1", "--clips", "16", "--threads", threads]) == 0
    record = json.loads((out / "training.json").read_text())
    assert record["config"]["steps"] == 1
    assert record["versions"]["torch"] == torch.__version__
    adapter = load_adapter("toy", checkpoint=out)
    model = adapter.load_transformer(Expert())
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert adapter.fingerprints()["transformer"] != ADAPTER.fingerprints()["transformer"]
