"""Which form of a matrix parameter's gradient is cheaper: token or flat."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CostModel:
    """Measured speeds of one machine.

    The token form sketches t (o + i) numbers and multiplies t min(o, k) min(i, k), or takes transforms that are worth
    10 k log2(k) multiplications a token; the flat form multiplies t o i into the per-sample gradient and reads those
    o i numbers once. Only their ratios matter. The defaults are estimates for a two-core AVX2 machine;
    ``motive doctor --calibrate`` measures those of this one.

    Attributes:
        matmul: torch's matrix product, 10^9 multiply-adds a second.
        product: the product inside the token form, likewise.
        sketch: numbers sketched, 10^9 a second.
        flat: numbers of a gradient projected, 10^9 a second.
    """

    matmul: float = 50.0
    product: float = 45.0
    sketch: float = 1.5
    flat: float = 5.0

    def __post_init__(self) -> None:
        for name in ("matmul", "product", "sketch", "flat"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"CostModel: {name} must be a positive number, got {value!r}; measure it again")

    def token_s(self, t: int, o: int, i: int, k: int) -> float:
        """Predicted seconds of the token form for one sample, in units of 1e-9 s."""
        product = min(o, k) * min(i, k)
        terms = min(product, 10 * k * math.log2(k)) if k >= 8 else product
        return t * (o + i) / self.sketch + t * terms / self.product

    def flat_s(self, t: int, o: int, i: int) -> float:
        """Predicted seconds of the flat form for one sample, in units of 1e-9 s."""
        return t * o * i / self.matmul + o * i / self.flat

    def token_is_cheaper(self, t: int, o: int, i: int, k: int) -> bool:
        """Whether the token form is predicted to take no longer."""
        return self.token_s(t, o, i, k) <= self.flat_s(t, o, i)
