"""Clips in, vectors out: the projected gradient of the motion-weighted flow-matching loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import motive_kernels as mk
from motive.adapters.base import Adapter, Conditioning, batch_conditioning
from motive.capture.draws import DrawConfig, shared_noise


@dataclass(frozen=True)
class EncodedClip:
    """What the gradient pass needs of one clip.

    Attributes:
        latents: float32 [c, F, h, w], normalised as the transformer was trained on.
        weights: float32 [F, h, w] in [0, 1], the motion mask on the latent grid.
        conditioning: of its caption.
    """

    latents: Tensor
    weights: Tensor
    conditioning: Conditioning


@dataclass(frozen=True)
class ClipVector:
    """The result for one clip.

    Attributes:
        vector: float32 [parts k] on the host, the draws' projected gradients put together as DrawConfig.per_draw says.
        norm: length of the mean over draws of the projected gradients.
        loss: mean over draws of the motion-weighted loss.
    """

    vector: Tensor
    norm: float
    loss: float


@dataclass(frozen=True)
class Batch:
    """Encoded clips on the device: latents [n, c, F, h, w], weights [n, F, h, w], conditioning name -> [n, ...]."""

    latents: Tensor
    weights: Tensor
    conditioning: Conditioning

    @classmethod
    def of(cls, clips: Sequence[EncodedClip], device: torch.device) -> Batch:
        """Stack clips of one latent shape."""
        conditioning = batch_conditioning([clip.conditioning for clip in clips])
        return cls(
            torch.stack([clip.latents for clip in clips]).to(device),
            torch.stack([clip.weights for clip in clips]).to(device),
            {name: value.to(device) for name, value in conditioning.items()},
        )

    def repeated(self, draws: int) -> Batch:
        """Each clip ``draws`` times in a row."""
        return Batch(
            self.latents.repeat_interleave(draws, 0),
            self.weights.repeat_interleave(draws, 0),
            {name: value.repeat_interleave(draws, 0) for name, value in self.conditioning.items()},
        )


class ClipGradients:
    """The gradient pass of one transformer, set up once and called with a few clips at a time.

    Args:
        adapter: the model family.
        transformer: from the adapter, on the device to compute on; left as found by every call.
        projector: over the transformer's parameters, names prefixed by ``prefix``.
        draws: the shared noise levels.
        latent_shape: (c, F, h, w) of every clip.
        prefix: component of the parameters' names, e.g. ``transformer.``.
        draws_per_pass: draws that share one forward and backward pass; more is faster and takes more memory.
        costs: measured speeds of the machine, or None for the built-in ones.
    """

    def __init__(
        self,
        adapter: Adapter,
        transformer: nn.Module,
        projector: mk.Projector,
        draws: DrawConfig,
        latent_shape: tuple[int, int, int, int],
        *,
        prefix: str = "transformer.",
        draws_per_pass: int = 1,
        costs: mk.CostModel | None = None,
    ) -> None:
        self._adapter = adapter
        self._transformer = transformer
        self._projector = projector
        self._device = next(transformer.parameters()).device
        sigmas = torch.tensor(draws.sigmas(), dtype=torch.float32, device=self._device)
        noise = torch.stack([shared_noise(draws.seed, j, latent_shape) for j in range(len(sigmas))]).to(self._device)
        self._passes = list(zip(sigmas.split(draws_per_pass), noise.split(draws_per_pass), strict=True))
        self._count = len(sigmas)
        self._per_draw = draws.per_draw
        self._capture = mk.GradientCapture(transformer, projector, prefix=prefix, costs=costs)

    @property
    def routes(self) -> dict[str, str]:
        """Parameter name -> how its gradients are taken (motive_kernels.GradientCapture)."""
        return self._capture.routes

    def __call__(self, clips: Sequence[EncodedClip]) -> list[ClipVector]:
        """Vector and loss of each clip; a non-finite vector is returned as it is, for the caller to report.

        Where a parameter takes the stream route, a non-finite clip spoils the others of the call: see ``routes``.
        """
        n = len(clips)
        summed = self._projector.zeros(n, self._device)
        unit_vectors: list[Tensor] = []
        mean_losses = summed.new_zeros(n)
        for z, losses in self._taken(clips, self._per_draw != "sum"):
            mean_losses += losses
            summed += z.sum(1)
            if self._per_draw != "sum":
                norms = z.norm(dim=2, keepdim=True)
                unit_vectors.append(z / torch.where(norms == 0, 1.0, norms))
        vectors = self._together(summed, unit_vectors)
        host = zip(vectors.cpu(), summed.norm(dim=1).tolist(), mean_losses.tolist(), strict=True)
        return [ClipVector(vector, norm, loss) for vector, norm, loss in host]

    def each_draw(self, clips: Sequence[EncodedClip]) -> Tensor:
        """The projected gradient of every draw by itself, divided by their number: float32 [n, draws, k] on the host."""
        return torch.cat([z.cpu() for z, _ in self._taken(clips, True)], 1)

    def _taken(self, clips: Sequence[EncodedClip], apart: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each pass the projected gradients [n, its draws or 1, k] and losses [n], as shares of a mean over draws."""
        n, batch = len(clips), Batch.of(clips, self._device)
        seen: list[Tensor] = []
        for sigma, noise in self._passes:

            def losses(sigma: Tensor = sigma, noise: Tensor = noise) -> Tensor:
                each = motion_weighted_losses(self._adapter, self._transformer, batch, sigma, noise) / self._count
                seen[:] = [each.detach().sum(1)]  # a capture may ask again
                return each.flatten() if apart else each.sum(1)

            yield self._capture(losses).reshape(n, -1, self._projector.dim), seen[0]

    def _together(self, summed: Tensor, unit_vectors: list[Tensor]) -> Tensor:
        """The clips' vectors [n, parts k] from the sum of their draws [n, k] and the draws at length 1 [n, draws, k]."""
        if self._per_draw == "sum":
            return summed
        draws = torch.cat(unit_vectors, 1)
        return draws.mean(1) if self._per_draw == "normalised" else draws.flatten(1) / self._count**0.5


def motion_weighted_losses(
    adapter: Adapter, transformer: nn.Module, batch: Batch, sigma: Tensor, noise: Tensor
) -> Tensor:
    """The motion-weighted flow-matching loss of clips at shared draws (paper, Eq. 15 and 16).

    Args:
        adapter: gives noising, target and prediction.
        transformer: the model.
        batch: n clips.
        sigma: float32 [draws].
        noise: float32 [draws, c, F, h, w], the same for every clip.

    Returns:
        float32 [n, draws], differentiable by the transformer's parameters.
    """
    n, draws = len(batch.latents), len(sigma)
    rows = batch.repeated(draws)
    noise, sigma = noise.repeat(n, 1, 1, 1, 1), sigma.repeat(n)
    noisy, target = adapter.add_noise(rows.latents, noise, sigma)
    prediction = adapter.predict(transformer, noisy, sigma, rows.conditioning)
    loss, _ = mk.weighted_loss(prediction, target, rows.weights)
    return loss.reshape(n, draws)
