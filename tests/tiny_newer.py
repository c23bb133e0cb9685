"""Tiny random pipelines of the families that came later: CogVideoX 1.5, HunyuanVideo 1.5, LTX-2, Wan VACE."""

from __future__ import annotations

from typing import Any

import diffusers
import transformers

from tests.tiny_parts import cogvideox_vae, flow_scheduler, t5, word_tokenizer
from tests.tiny_wan import TRANSFORMER, VAE, tiny_tokenizer

CHAT = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ 'a ' * 108 }}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %} the{% endif %}"
)
"""A chat template whose system message has the 108 tokens that the pipeline cuts off."""


def vace() -> Any:
    """Control of 2 x 16 channels and one for each pixel of a cell, into the first of two blocks."""
    tokenizer = tiny_tokenizer()
    config = transformers.UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return diffusers.WanVACEPipeline(
        tokenizer=tokenizer,
        text_encoder=transformers.UMT5EncoderModel(config).eval(),
        vae=diffusers.AutoencoderKLWan(**VAE).eval(),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        transformer=diffusers.WanVACETransformer3DModel(**TRANSFORMER, vace_layers=[0, 1], vace_in_channels=96).eval(),
    )


def cogvideox15() -> Any:
    """Two latent frames in a token, rotary embedding by slices."""
    tokenizer = tiny_tokenizer()
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        patch_size_t=2,
        patch_bias=False,
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


def hunyuan15() -> Any:
    words = word_tokenizer(2048)
    words.chat_template = CHAT
    transformer = diffusers.HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        patch_size=1,
        patch_size_t=1,
        text_embed_dim=16,
        text_embed_2_dim=32,
        image_embed_dim=12,
        rope_axes_dim=(2, 2, 4),
        target_size=640,
        task_type="t2v",
    )
    language = transformers.Qwen2_5_VLTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 0], "rope_theta": 10000.0},
    )  # fmt: skip
    return diffusers.HunyuanVideo15Pipeline(
        text_encoder=transformers.Qwen2_5_VLTextModel(language).eval(),
        tokenizer=words,
        transformer=transformer.eval(),
        vae=diffusers.AutoencoderKLHunyuanVideo15(
            latent_channels=4,
            block_out_channels=(8, 8, 16, 16),
            layers_per_block=1,
            spatial_compression_ratio=8,
            temporal_compression_ratio=4,
        ).eval(),
        scheduler=flow_scheduler(shift=7.0),
        text_encoder_2=t5(384),
        tokenizer_2=transformers.ByT5Tokenizer(),
        guider=diffusers.ClassifierFreeGuidance(guidance_scale=1.0),
    )


def ltx2_vae() -> Any:
    return diffusers.AutoencoderKLLTX2Video(
        latent_channels=8,
        block_out_channels=(8, 8),
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 8),
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        downsample_type=("spatiotemporal", "spatiotemporal"),
        upsample_type=("spatiotemporal", "spatiotemporal"),
        upsample_residual=(False, False),
        upsample_factor=(1, 1),
        patch_size=2,
        patch_size_t=1,
    ).eval()


def ltx2() -> Any:
    """Without an audio autoencoder and a vocoder: the video part needs none."""
    words = word_tokenizer(1024)
    text = {
        "vocab_size": len(words), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 1024,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": 64,
    }  # fmt: skip
    vision = {
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
        "patch_size": 16,
    }  # fmt: skip
    gemma = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return diffusers.LTX2Pipeline(
        scheduler=flow_scheduler(),
        vae=ltx2_vae(),
        audio_vae=None,
        text_encoder=transformers.Gemma3ForConditionalGeneration(gemma).eval(),
        tokenizer=words,
        connectors=diffusers.pipelines.ltx2.LTX2TextConnectors(
            caption_channels=16,
            text_proj_in_factor=3,
            video_connector_num_attention_heads=2,
            video_connector_attention_head_dim=8,
            video_connector_num_layers=1,
            video_connector_num_learnable_registers=128,
            audio_connector_num_attention_heads=2,
            audio_connector_attention_head_dim=8,
            audio_connector_num_layers=1,
            audio_connector_num_learnable_registers=128,
        ).eval(),
        transformer=diffusers.LTX2VideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            vae_scale_factors=(4, 8, 8),
            audio_in_channels=128,
            audio_out_channels=128,
            audio_num_attention_heads=2,
            audio_attention_head_dim=4,
            audio_cross_attention_dim=8,
            num_layers=2,
            caption_channels=16,
        ).eval(),
        vocoder=None,
    )
