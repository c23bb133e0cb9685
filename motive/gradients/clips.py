"""Clips in, vectors out: the projected gradient of the motion-weighted flow-matching loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import motive_kernels as mk
from motive.adapters.base import Adapter, Conditioning, batch_conditioning
from motive.gradients.draws import DrawConfig, NoiseOf, shared_noise
from motive.gradients.segments import Segments


@dataclass(frozen=True)
class EncodedClip:
    """What the gradient pass needs of one clip.

    Attributes:
        latents: float32 [c, F, h, w], normalised as the transformer was trained on.
        weights: float32 [F, h, w] in [0, 1], the motion mask on the latent grid.
        conditioning: of its caption.
        segments: parts that get a vector each, or None.
    """

    latents: Tensor
    weights: Tensor
    conditioning: Conditioning
    segments: Segments | None = None


@dataclass(frozen=True)
class ClipVector:
    """The result for one clip.

    Attributes:
        vector: float32 [parts k] on the host, the draws' projected gradients combined as DrawConfig.combine says;
            with parts of the model, this for each part, one after the other.
        norm: length of the mean over draws of the projected gradients.
        loss: mean over draws of the motion-weighted loss.
        segments: name -> the same of each segment. Their vectors and losses add up to the clip's: where draws are
            brought to one length, it is the clip's length that counts, not the segment's.
    """

    vector: Tensor
    norm: float
    loss: float
    segments: Mapping[str, ClipVector] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Encoded clips on the device.

    Attributes:
        latents: [n, c, F, h, w].
        weights: [n, s, F, h, w], of each segment, or with s = 1 of the whole clip.
        conditioning: name -> [n, ...].
    """

    latents: Tensor
    weights: Tensor
    conditioning: Conditioning

    @classmethod
    def of(cls, clips: Sequence[EncodedClip], device: torch.device) -> Batch:
        """Stack clips of one latent shape."""
        conditioning = batch_conditioning([clip.conditioning for clip in clips])
        most = max(len(_names(clip)) for clip in clips)
        return cls(
            torch.stack([clip.latents for clip in clips]).to(device),
            torch.stack([_segment_weights(clip, most) for clip in clips]).to(device),
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
        prefix: component of the parameters' names, e.g. ``transformer.``.
        parts: name -> parameters of a part of the model, for a vector of each; empty for one of all.
        micro_batch_draws: draws of each clip in one forward and backward pass; more is faster and takes more memory.
        verify: whether the first batch proves the gradients (motive_kernels.GradientCapture).
        noise_of: the noise of a draw, one for all clips of a latent shape; field_noise where clips have several.
    """

    def __init__(
        self,
        adapter: Adapter,
        transformer: nn.Module,
        projector: mk.Projector,
        draws: DrawConfig,
        *,
        prefix: str = "transformer.",
        parts: Mapping[str, Sequence[str]] = {},
        micro_batch_draws: int = 1,
        verify: bool = True,
        noise_of: NoiseOf = shared_noise,
    ) -> None:
        self._adapter = adapter
        self._transformer = transformer
        self._projector = projector
        self._device = next(transformer.parameters()).device
        self._sigmas = torch.tensor(draws.sigmas(), dtype=torch.float32, device=self._device)
        self._seed = draws.seed
        self._noise_of, self._noise = noise_of, torch.empty(0)
        self._micro_batch_draws = micro_batch_draws
        self._count = len(self._sigmas)
        self._combine = draws.combine
        self._parts = max(1, len(parts))
        self._capture = mk.GradientCapture(transformer, projector, prefix=prefix, groups=parts or None, verify=verify)

    @property
    def routes(self) -> dict[str, str]:
        """Parameter name -> how its gradients are taken (motive_kernels.GradientCapture)."""
        return self._capture.routes

    def __call__(self, clips: Sequence[EncodedClip]) -> list[ClipVector]:
        """Vector and loss of each clip, all of one latent shape; a non-finite vector is returned as it is, for the caller
        to report.

        Where a parameter takes the stream route, a non-finite clip spoils the others of the call: see ``routes``.
        """
        draws, losses = [], []
        for z, loss in self._taken(clips, self._combine != "mean"):
            draws.append(z)
            losses.append(loss)
        z = torch.cat(draws, 1)  # [n, draws, s, parts, k]
        summed, loss = z.sum(1).flatten(2), torch.stack(losses).sum(0)
        if self._combine != "mean":
            norms = z.sum(2).flatten(2).norm(dim=2)[:, :, None, None, None]
            z = z / torch.where(norms == 0, 1.0, norms)
        if self._combine == "concat":
            vectors = z.permute(0, 2, 3, 1, 4).flatten(2) / self._count**0.5
        else:
            vectors = summed if self._combine == "mean" else z.mean(1).flatten(2)
        return [
            _clip_vector(clip, *rows)
            for clip, *rows in zip(clips, vectors.cpu(), summed.cpu(), loss.cpu(), strict=True)
        ]

    def each_draw(self, clips: Sequence[EncodedClip]) -> Tensor:
        """The projected gradient of every draw by itself, divided by their number: float32 [n, draws, k] on the host."""
        return torch.cat([z.sum(2).flatten(2).cpu() for z, _ in self._taken(clips, True)], 1)

    def _passes(self, latent_shape: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        """Noise levels and noise [draws, c, F, h, w] of each pass; the noise of the latest latent shape is kept."""
        if self._noise.shape[1:] != latent_shape:
            noise = [self._noise_of(self._seed, draw, tuple(latent_shape)) for draw in range(self._count)]
            self._noise = torch.stack(noise).to(self._device)
        size = self._micro_batch_draws
        return zip(self._sigmas.split(size), self._noise.split(size), strict=True)

    def _taken(self, clips: Sequence[EncodedClip], apart: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each pass the projected gradients [n, its draws or 1, s, parts, k] and losses [n, s], as shares of a mean over
        draws."""
        n, batch = len(clips), Batch.of(clips, self._device)
        seen: list[Tensor] = []
        for sigma, noise in self._passes(batch.latents.shape[1:]):

            def losses(sigma: Tensor = sigma, noise: Tensor = noise) -> Tensor:
                each = motion_weighted_losses(self._adapter, self._transformer, batch, sigma, noise) / self._count
                seen[:] = [each.detach().sum(1)]  # a capture may ask again
                rows = each.flatten(0, 1) if apart else each.sum(1)
                return rows if rows.shape[1] > 1 else rows[:, 0]

            z = self._capture(losses)
            yield z.reshape(n, -1, batch.weights.shape[1], self._parts, self._projector.dim), seen[0]


def _names(clip: EncodedClip) -> tuple[str, ...]:
    """Of the clip's segments; one for a whole clip."""
    return clip.segments.names if clip.segments else ("",)


def _segment_weights(clip: EncodedClip, most: int) -> Tensor:
    """[most, F, h, w]: the loss weights of each segment, then zeros."""
    weights = clip.weights[None] if clip.segments is None else torch.from_numpy(clip.segments.shares) * clip.weights
    return torch.cat([weights, weights.new_zeros(most - len(weights), *weights.shape[1:])])


def _clip_vector(clip: EncodedClip, vectors: Tensor, summed: Tensor, losses: Tensor) -> ClipVector:
    """Of vectors [s, parts k], raw gradients [s, k] and losses [s]."""
    segments = {}
    if clip.segments is not None:
        each = zip(clip.segments.names, vectors, summed.norm(dim=1).tolist(), losses.tolist(), strict=False)
        segments = {name: ClipVector(vector, norm, loss) for name, vector, norm, loss in each}
    return ClipVector(vectors.sum(0), float(summed.sum(0).norm()), float(losses.sum()), segments)


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
        float32 [n, draws, s], s segments of each clip, differentiable by the transformer's parameters.
    """
    n, draws = len(batch.latents), len(sigma)
    rows = batch.repeated(draws)
    noise, sigma = noise.repeat(n, 1, 1, 1, 1), sigma.repeat(n)
    noisy, target = adapter.add_noise(rows.latents, noise, sigma)
    prediction = adapter.predict(transformer, noisy, sigma, rows.conditioning)
    each = [
        mk.weighted_loss(prediction, target, weights.contiguous())[0]
        for weights in adapter.loss_weights(rows.weights).unbind(1)
    ]
    return torch.stack(each, 1).reshape(n, draws, -1)
