"""Shapes of the parameters of Wan2.1-T2V-1.3B, the model that the targets are stated for."""

from __future__ import annotations

BLOCKS, WIDTH, INNER, TEXT, FREQUENCIES = 30, 1536, 8960, 4096, 256
LATENT_CHANNELS, PATCH = 16, (1, 2, 2)
PARAMETERS = 1_418_996_800


def parameters() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every trainable parameter; they add up to PARAMETERS."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embedding.weight": (WIDTH, LATENT_CHANNELS, *PATCH)}
    shapes["patch_embedding.bias"] = (WIDTH,)
    outside = {
        "text_embedder.linear_1": (WIDTH, TEXT),
        "text_embedder.linear_2": (WIDTH, WIDTH),
        "time_embedder.linear_1": (WIDTH, FREQUENCIES),
        "time_embedder.linear_2": (WIDTH, WIDTH),
        "time_proj": (6 * WIDTH, WIDTH),
        "proj_out": (LATENT_CHANNELS * 4, WIDTH),
    }
    for name, shape in outside.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes["scale_shift_table"] = (1, 2, WIDTH)
    for block in range(BLOCKS):
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in block_parameters().items()}
    return shapes


def block_parameters() -> dict[str, tuple[int, ...]]:
    """One transformer block: two attentions, a feed-forward layer, norms and the modulation table."""
    shapes: dict[str, tuple[int, ...]] = {"scale_shift_table": (1, 6, WIDTH)}
    for attention in ("attn1", "attn2"):
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes |= {f"{attention}.{name}.weight": (WIDTH, WIDTH), f"{attention}.{name}.bias": (WIDTH,)}
        shapes |= {f"{attention}.norm_q.weight": (WIDTH,), f"{attention}.norm_k.weight": (WIDTH,)}
    shapes |= {"norm2.weight": (WIDTH,), "norm2.bias": (WIDTH,)}
    shapes |= {"ffn.net.0.proj.weight": (INNER, WIDTH), "ffn.net.0.proj.bias": (INNER,)}
    shapes |= {"ffn.net.2.weight": (WIDTH, INNER), "ffn.net.2.bias": (WIDTH,)}
    return shapes


def factorized_layers() -> dict[tuple[int, int], int]:
    """(outputs, inputs) -> how many linear layers of the blocks run on all video tokens.

    Keys and values of the cross attention run on the text tokens instead and are left out.
    """
    return {(WIDTH, WIDTH): 6 * BLOCKS, (INNER, WIDTH): BLOCKS, (WIDTH, INNER): BLOCKS}
