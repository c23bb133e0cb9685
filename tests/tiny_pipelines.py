"""Tiny random text-to-video pipeline folders of each family, made offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.tiny_newer import cogvideox15, hunyuan15, ltx2, vace
from tests.tiny_parts import cogvideox_vae, flow_scheduler, t5, word_tokenizer
from tests.tiny_wan import TRANSFORMER, VAE, tiny_tokenizer


def wan22() -> Any:
    """TI2V-5B: a time step for each token, latent cells of 16 pixels."""
    tokenizer = tiny_tokenizer()
    vae = diffusers.AutoencoderKLWan(
        **{**VAE, "z_dim": 48, "in_channels": 12, "out_channels": 12},
        is_residual=True,
        patch_size=2,
        latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
    )
    config = transformers.UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return diffusers.WanPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.UMT5EncoderModel(config).eval(),
        vae=vae.eval(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
        ),
        transformer=diffusers.WanTransformer3DModel(**{**TRANSFORMER, "in_channels": 48, "out_channels": 48}).eval(),
        expand_timesteps=True,
    )


def image_to_video(inside: bool = False, clip: bool = False) -> Any:
    """Wan that sees a first frame: in separate channels, with or without an embedding of it, or in the latents."""
    tokenizer = tiny_tokenizer()
    config = transformers.UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    seen = {"image_dim": 8, "added_kv_proj_dim": 24} if clip else {}
    vision = transformers.CLIPVisionConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=16
    )
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return diffusers.WanImageToVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.UMT5EncoderModel(config).eval(),
        vae=diffusers.AutoencoderKLWan(**VAE).eval(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        image_encoder=transformers.CLIPVisionModel(vision).eval() if clip else None,
        image_processor=processor if clip else None,
        transformer=diffusers.WanTransformer3DModel(
            **{**TRANSFORMER, "in_channels": 16 if inside else 36, **seen}
        ).eval(),
        expand_timesteps=inside,
    )


def ltx() -> Any:
    tokenizer = tiny_tokenizer()
    vae = diffusers.AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        patch_size=2,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=32,
    )
    return diffusers.LTXPipeline(
        scheduler=flow_scheduler(),
        vae=vae.eval(),
        text_encoder=t5(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )


def mochi() -> Any:
    tokenizer = tiny_tokenizer()
    vae = diffusers.AutoencoderKLMochi(
        latent_channels=12,
        out_channels=3,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    transformer = diffusers.MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        out_channels=None,
        qk_norm="rms_norm",
        text_embed_dim=32,
        time_embed_dim=4,
        activation_fn="swiglu",
        max_sequence_length=16,
    )
    return diffusers.MochiPipeline(
        scheduler=flow_scheduler(invert_sigmas=True),
        vae=vae.eval(),
        text_encoder=t5(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )


def cogvideox() -> Any:
    tokenizer = tiny_tokenizer()
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=2,
        sample_width=4,
        sample_height=6,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=16,
        use_rotary_positional_embeddings=True,
    )
    return diffusers.CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=t5(len(tokenizer)),
        vae=cogvideox_vae(),
        transformer=transformer.eval(),
        scheduler=diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction", snr_shift_scale=3.0),
    )


def hunyuan() -> Any:
    words, short = word_tokenizer(512), word_tokenizer(77)
    vae = diffusers.AutoencoderKLHunyuanVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        act_fn="silu",
        norm_num_groups=4,
        scaling_factor=0.476986,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
        mid_block_add_attention=True,
    )
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=2,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    llama = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=37, num_hidden_layers=4, num_attention_heads=4,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, max_position_embeddings=512,
    )  # fmt: skip
    clip = transformers.CLIPTextConfig(
        vocab_size=len(short), hidden_size=8, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return diffusers.HunyuanVideoPipeline(
        text_encoder=transformers.LlamaModel(llama).eval(),
        tokenizer=words,
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=flow_scheduler(shift=7.0),
        text_encoder_2=transformers.CLIPTextModel(clip).eval(),
        tokenizer_2=short,
    )


def shorten_captions(adapter: Any) -> None:
    """Fewer masked tokens after a caption, for tests that take many passes."""
    if adapter.family == "hunyuan15":
        adapter.text_length, adapter.glyph_length = 24, 16
    if adapter.family == "ltx2":
        adapter.text_length = 128  # the number of its registers


FIRST_FRAME: dict[str, Callable[[], Any]] = {
    "beside": image_to_video,
    "beside, embedded": lambda: image_to_video(clip=True),
    "inside": lambda: image_to_video(inside=True),
}
"""Ways in which Wan is given a first frame."""

FAMILIES: dict[str, Callable[[], Any]] = {
    "wan22": wan22,
    "ltx": ltx,
    "mochi": mochi,
    "cogvideox": cogvideox,
    "hunyuan": hunyuan,
    "vace": vace,
    "cogvideox15": cogvideox15,
    "hunyuan15": hunyuan15,
    "ltx2": ltx2,
}


def build_tiny(name: str, directory: Path, seed: int = 0) -> Path:
    """Write the pipeline of that name; the same bytes for the same seed. The global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = {**FAMILIES, **FIRST_FRAME}[name]()
        for parameter in pipeline.transformer.parameters():  # fresh models end in zeros, which hide gradients
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        pipeline.save_pretrained(directory, safe_serialization=True)
    return directory
