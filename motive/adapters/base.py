"""The contract of a model family; everything else is independent of the family."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import motive_kernels as mk
from motive.data.video.clip_spec import ClipSpec
from motive.errors import OptionError

Conditioning = Mapping[str, Tensor]
"""What the transformer takes beside the noisy latents, for one clip: name -> tensor without batch axis."""


@dataclass(frozen=True)
class Expert:
    """One transformer of a model and the noise levels it was trained for.

    Attributes:
        component: name of the module in the pipeline (``transformer``, ``transformer_2``); the prefix
            of its parameters' names.
        sigma_min, sigma_max: the expert serves sigma_min <= sigma <= sigma_max.
    """

    component: str = "transformer"
    sigma_min: float = 0.0
    sigma_max: float = 1.0


@dataclass(frozen=True)
class TrainingNoise:
    """The distribution of noise levels that a model was trained with.

    Attributes:
        strategy: ``uniform`` on (0, 1), or ``logit_normal``, the sigmoid of a standard normal.
        shift: levels u become shift u / (1 + (shift - 1) u).
    """

    strategy: Literal["uniform", "logit_normal"]
    shift: float = 1.0


class Adapter(ABC):
    """A video diffusion model as the attribution needs it.

    Latents are [n, c, F, h, w] float32, normalised as the transformer was trained on. The encoders
    and the transformer are loaded one after the other: each ``*_encoder`` is a context manager that
    loads on entry and frees on exit.
    """

    family: str
    """Registry name, e.g. ``wan``."""

    transformer_classes: tuple[str, ...] = ()
    """Diffusers classes of the transformers that this family reads from a pipeline folder; the adapter is then
    made as ``cls(folder, **options)``. Empty for a model that is asked for by name and made as ``cls(**options)``."""

    experts: tuple[Expert, ...] = (Expert(),)

    precomputed: Mapping[str, str] = {}
    """Tool whose precomputed latents can be used -> its name for this family (motive.adapters.precomputed)."""

    no_precomputed: str = ""
    """Why precomputed latents of this family cannot be used, where tools compute them; a clause for messages."""

    @property
    @abstractmethod
    def clip_spec(self) -> ClipSpec:
        """The clip standardisation that this model's users expect."""

    @abstractmethod
    def latent_shape(self, clip_spec: ClipSpec) -> tuple[int, int, int, int]:
        """(c, F, h, w) of the latents of one clip so standardised; OptionError if it does not fit."""

    @abstractmethod
    def fingerprints(self) -> Mapping[str, str]:
        """Hash of the weights and config of each component: {"transformer": ..., "vae": ..., "text_encoder": ...}."""

    @abstractmethod
    def video_encoder(self) -> AbstractContextManager[Callable[[Tensor], Tensor]]:
        """Encode uint8 frames [T, H, W, 3] of one standardised clip into float32 latents [c, F, h, w]."""

    @contextmanager
    def clip_encoder(self) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
        """Encode frames into ``latents``, as video_encoder, and the conditioning that comes from the frames, by name;
        models that see a first frame override it."""
        with self.video_encoder() as encode:
            yield lambda frames: {"latents": encode(frames)}

    @abstractmethod
    def text_encoder(self) -> AbstractContextManager[Callable[[Sequence[str]], list[Conditioning]]]:
        """Encode captions, each into its own conditioning."""

    @abstractmethod
    def load_transformer(self, expert: Expert) -> nn.Module:
        """The expert's transformer in eval mode, every parameter requiring a gradient."""

    def enable_checkpointing(self, transformer: nn.Module) -> None:
        """Have a transformer keep no activations inside its blocks, as diffusers' models can.

        Raises:
            OptionError: this one cannot.
        """
        enable = getattr(transformer, "enable_gradient_checkpointing", None)
        if enable is None:
            raise OptionError(
                f"{self.family}: checkpointing must be left out for {type(transformer).__name__}, got True; "
                "lower --batch-size and --micro-batch-draws instead"
            )
        # Reentrant checkpoints hide the layers from hooks, so the function is ours and not left to the library.
        given = {"gradient_checkpointing_func": _checkpoint} if _takes_function(enable) else {}
        enable(**given)

    def parameter_shapes(self, expert: Expert) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the expert's parameters; families override it where that needs no weights in memory."""
        return {name: tuple(p.shape) for name, p in self.load_transformer(expert).named_parameters()}

    @abstractmethod
    def predict(self, transformer: nn.Module, noisy: Tensor, sigma: Tensor, conditioning: Conditioning) -> Tensor:
        """The model's prediction for noisy latents.

        Args:
            transformer: from load_transformer.
            noisy: [n, c, F, h, w] float32.
            sigma: [n] float32 in (0, 1).
            conditioning: batched, name -> [n, ...].

        Returns:
            [n, c, F, h, w] float32, comparable with the target of ``add_noise``.
        """

    def add_noise(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents and what the model should predict for them.

        Rectified flow: x = (1 - sigma) z + sigma eps and eps - z; families with another process override it.

        Args:
            latents: z [n, c, F, h, w] float32.
            noise: eps, the same shape.
            sigma: [n] float32 in (0, 1).
        """
        return mk.noise_latents(latents, noise, sigma)

    def training_noise(self, latent_shape: tuple[int, int, int, int]) -> TrainingNoise:
        """The noise levels that this model was trained with, for clips of a latent shape.

        Raises:
            OptionError: the family does not say.
        """
        raise OptionError(
            f"{self.family}: draws must have strategy single, uniform or logit_normal, got model; "
            "the family does not say how it was trained"
        )

    def loss_weights(self, weights: Tensor) -> Tensor:
        """Weights of the loss [n, s, F, h, w] on what the model predicts; cells that it is given have none."""
        return weights

    def has_gradient(self, name: str) -> bool:
        """Whether a parameter of the transformer can have one, given what clips come with; others are not attributed."""
        return True

    def normalised(self, latents: Tensor) -> Tensor:
        """Latents [c, F, h, w] as the video encoder's own space has them, brought to the transformer's.

        Raises:
            OptionError: the family does not say how.
        """
        raise OptionError(f"{self.family}: latents must be left out; the family does not say how they are normalised")

    def lora_names(self, layer: str) -> Sequence[str]:
        """What LoRA training tools call a layer of the transformer beside its own name."""
        return ()

    def weight_notes(self) -> Sequence[str]:
        """Sentences on what the weights lost by the way they are stored; empty where they are in 16 bits or more."""
        return ()

    def settings(self) -> Mapping[str, Any]:
        """Options of this adapter that change a vector (dtype, text length, ...); recorded in the identity."""
        return {}


def _checkpoint(module: nn.Module, *args: Any) -> Any:
    return checkpoint(module.__call__, *args, use_reentrant=False)


def _takes_function(enable: Callable[..., Any]) -> bool:
    return "gradient_checkpointing_func" in inspect.signature(enable).parameters


def batch_conditioning(conditionings: Sequence[Conditioning]) -> Conditioning:
    """Stack the conditioning of several clips: name -> [n, ...]."""
    return {name: torch.stack([c[name] for c in conditionings]) for name in conditionings[0]}
