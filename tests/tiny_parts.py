"""Parts that several tiny pipelines share."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_wan import WORDS


def t5(vocabulary: int) -> Any:
    config = transformers.T5Config(
        vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    return transformers.T5EncoderModel(config).eval()


def word_tokenizer(length: int) -> Any:
    """Words and pieces of one letter, padded on the right."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["<pad>", "<s>", "</s>", "<unk>", *WORDS, *"abcdefghijklmnopqrstuvwxyz"]
    inner = Tokenizer(models.WordLevel({name: j for j, name in enumerate(dict.fromkeys(names))}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def flow_scheduler(**options: Any) -> Any:
    return diffusers.FlowMatchEulerDiscreteScheduler(**options)


def cogvideox_vae() -> Any:
    return diffusers.AutoencoderKLCogVideoX(
        in_channels=3,
        out_channels=3,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    ).eval()
