"""A tiny random Wan pipeline folder with all five components, made offline."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

TRANSFORMER: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 32,
    "freq_dim": 256,
    "ffn_dim": 32,
    "num_layers": 2,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}

VAE: dict[str, Any] = {
    "base_dim": 3,
    "z_dim": 16,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}

TEXT_ENCODER: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 37,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "dropout_rate": 0.0,
}

WORDS = ("a", "the", "red", "blue", "disc", "square", "wall", "floor", "and", "in", "soft", "light")


def tiny_tokenizer() -> Any:
    """A T5 tokenizer over letters and a few words; the vocabulary is written down, not trained."""
    letters = string.ascii_letters + string.digits + string.punctuation + "é"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0)]
    pieces += [("▁" + word, -2.0) for word in WORDS] + [(letter, -6.0) for letter in letters]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0)


def build_tiny_wan(directory: str | Path, seed: int = 0) -> Path:
    """Write a Wan text-to-video pipeline of some 50,000 random parameters, the same bytes for the same seed.

    One clip of 9 frames of 32 x 32 has latents [16, 3, 4, 4]. The global random state is kept.
    """
    directory = Path(directory)
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = diffusers.WanTransformer3DModel(**TRANSFORMER)
        vae = diffusers.AutoencoderKLWan(**VAE)
        config = transformers.UMT5Config(vocab_size=len(tokenizer), **TEXT_ENCODER)
        text_encoder = transformers.UMT5EncoderModel(config)
        pipeline = diffusers.WanPipeline(
            tokenizer=tokenizer,
            text_encoder=text_encoder.eval(),
            vae=vae.eval(),
            scheduler=diffusers.UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
            ),
            transformer=transformer.eval(),
        )
    pipeline.save_pretrained(directory, safe_serialization=True)
    return directory
