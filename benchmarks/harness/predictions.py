"""Predictions made before anything is measured. Pure functions of a card's ceilings and of counts.

Our CUDA kernels take the larger of the time to issue their instructions, counted in the shipped machine code
(counted.py), and the time to move their bytes. A model's own products and attention are torch's: those take a share of
the card's ceiling, written down here so that a measurement can contradict it. A search is Triton's, whose instructions
are not counted: its prediction is the time to read the store.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.harness import counted
from benchmarks.kernels import wan

TB, TFLOP = 1e12 / 1e3, 1e12 / 1e3
"""A second's worth, in bytes or operations a millisecond."""


@dataclass(frozen=True)
class Card:
    """Ceilings: bytes read a millisecond, and bfloat16 operations of a large matrix product a millisecond."""

    name: str
    read: float
    product: float


DATA_SHEETS = (Card("H200", 4.8 * TB, 990 * TFLOP), Card("H100", 3.35 * TB, 990 * TFLOP))
"""NVIDIA's figures; measured ceilings take their place as soon as there are some."""

LINEAR_SHARE, ATTENTION_SHARE = 0.8, 0.6
"""Of the matrix-product ceiling: a model's products, and its attention with the backward pass."""

PASSES = 250
"""Times that a token's d numbers are read or written in 16 bits by what is neither product nor attention, a block,
forward and backward, in eager mode; norms and modulation are float32."""


@dataclass(frozen=True)
class Shape:
    """A transformer as the arithmetic sees it.

    Attributes:
        width, inner, blocks: of the transformer.
        gates: matrices of the feed-forward layer.
        text: tokens of text, on which keys and values of the cross attention run.
    """

    width: int
    inner: int
    blocks: int
    gates: int = 2
    text: int = 512


WAN_1_3B = Shape(wan.WIDTH, wan.INNER, wan.BLOCKS)


def linear_flops(shape: Shape, tokens: int) -> float:
    """Operations of one forward pass of the linear layers on one clip."""
    square = shape.width**2
    each = 2 * tokens * (6 * square + shape.gates * shape.width * shape.inner) + 2 * shape.text * 2 * square
    return float(shape.blocks * each)


def attention_flops(shape: Shape, tokens: int) -> float:
    """Operations of one forward pass of self and cross attention on one clip."""
    return 4.0 * shape.blocks * shape.width * tokens * (tokens + shape.text)


def pass_ms(card: Card, shape: Shape, tokens: int, weights: bool, recomputed: float = 0.0) -> float:
    """Expected time of a forward and backward pass of one clip.

    Args:
        weights: with weight gradients, as a training step; ours takes the factorized route in their place.
        recomputed: share of the forward pass that checkpointing runs again.
    """
    linear, attention = linear_flops(shape, tokens), attention_flops(shape, tokens)
    products = linear * (2 + weights + recomputed)
    # The backward pass of attention has five products for the forward pass's two.
    scores = attention * (3.5 + recomputed)
    moved = PASSES * 2.0 * shape.width * tokens * shape.blocks * (1 + recomputed / 3)
    own = 0.0 if weights else token_ms(card, tokens)
    return (products / LINEAR_SHARE + scores / ATTENTION_SHARE) / card.product + moved / card.read + own


def flat_ms(card: Card, parameters: int = wan.PARAMETERS) -> float:
    """Expected time of the materialized route over this many bfloat16 parameters of one sample."""
    return counted.flat_model().ms(card.read) * parameters / wan.PARAMETERS


def flat_share(card: Card) -> float:
    """Share of the read ceiling that the materialized route reaches then."""
    return 2.0 * wan.PARAMETERS / card.read / flat_ms(card)


def token_bytes(tokens: int) -> float:
    """What the factorized route reads for the layers of Wan2.1-1.3B's blocks: inputs and output gradients, once."""
    return float(sum(count * 2 * tokens * (o + i) for (o, i), count in wan.factorized_layers().items()))


def token_ms(card: Card, tokens: int, samples: int = 1) -> float:
    """Expected time of the factorized route over the blocks of Wan2.1-1.3B, a launch for each layer of some clips."""
    return sum(count * work.ms(card.read) for count, work in counted.token_model(tokens, samples))


def token_floors(card: Card, tokens: int) -> float:
    """The same in units of the time to read inputs and output gradients once."""
    return token_ms(card, tokens) * card.read / token_bytes(tokens)


def weight_gradient_ms(card: Card, tokens: int) -> float:
    """Expected time of the products that the factorized route replaces."""
    flops = sum(count * 2.0 * tokens * o * i for (o, i), count in wan.factorized_layers().items())
    return flops / LINEAR_SHARE / card.product


def search_ms(card: Card, rows: int, width: int = 512, item: int = 1) -> float:
    """Time to read a store once; a sample before it is a hundredth."""
    return 1.01 * rows * width * item / card.read
