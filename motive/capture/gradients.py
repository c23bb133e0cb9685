"""Clips in, vectors out: the projected gradient of the motion-weighted flow-matching loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import motive_kernels as mk
from motive.adapters.base import Adapter, Conditioning, batch_conditioning
from motive.capture.draws import DrawConfig, shared_noise
from motive_kernels.capture.parameters import select_parameters
from motive_kernels.capture.token import uncovered


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
        vector: float32 [k] on the host, the mean over draws of the projected gradients, each at length 1 first where
            DrawConfig.per_draw is ``normalised``.
        loss: mean over draws of the motion-weighted loss.
    """

    vector: Tensor
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

    Attributes:
        route: ``token`` where every parameter has a token rule, else ``stream`` (motive_kernels.capture).
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
    ) -> None:
        self._adapter = adapter
        self._transformer = transformer
        self._projector = projector
        self._prefix = prefix
        self._device = next(transformer.parameters()).device
        sigmas = torch.tensor(draws.sigmas(), dtype=torch.float32, device=self._device)
        noise = torch.stack([shared_noise(draws.seed, j, latent_shape) for j in range(len(sigmas))]).to(self._device)
        self._passes = list(zip(sigmas.split(draws_per_pass), noise.split(draws_per_pass), strict=True))
        self._count = len(sigmas)
        self._normalised = draws.per_draw == "normalised"
        missing = uncovered(transformer, select_parameters(transformer, projector, prefix=prefix))
        self.route = "stream" if missing else "token"

    def __call__(self, clips: Sequence[EncodedClip]) -> list[ClipVector]:
        """Vector and loss of each clip; a non-finite vector is returned as it is, for the caller to report.

        On the stream route a non-finite clip spoils the others of the call, so give one at a time there.
        """
        batch = Batch.of(clips, self._device)
        vectors = self._projector.zeros(len(clips), self._device)
        mean_losses = vectors.new_zeros(len(clips))
        for sigma, noise in self._passes:

            def losses(sigma: Tensor = sigma, noise: Tensor = noise) -> Tensor:
                each = motion_weighted_losses(self._adapter, self._transformer, batch, sigma, noise) / self._count
                mean_losses.add_(each.detach().sum(1))
                return each.flatten() if self._normalised else each.sum(1)

            z = mk.projected_gradients(
                self._transformer, losses, self._projector, route=self.route, prefix=self._prefix
            )
            vectors += self._mean_direction(z, len(clips)) if self._normalised else z
        host = vectors.cpu()
        return [ClipVector(host[j], float(loss)) for j, loss in enumerate(mean_losses.cpu())]

    def _mean_direction(self, z: Tensor, n: int) -> Tensor:
        """One pass's share of the mean over draws of unit vectors, [n, k] of z [n draws, k]; zero vectors stay zero."""
        norms = z.norm(dim=1, keepdim=True)
        return (z / torch.where(norms == 0, 1.0, norms)).reshape(n, -1, z.shape[1]).sum(1) / self._count


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
