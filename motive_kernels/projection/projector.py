"""The public way to project: a spec, the parameters' shapes, and one fixed linear map for all of them."""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motive_kernels.projection.types.base import ParameterMap, ProjectionType, Shape
from motive_kernels.projection.types.registry import TYPES
from motive_kernels.rng.philox import FORMAT_VERSION
from motive_kernels.runtime.checks import check_tokens, fail


@dataclass(frozen=True)
class ProjectionSpec:
    """Which random linear map R^D -> R^dim.

    Attributes:
        type: a name in TYPES: tensor_sketch (default), fastfood, rademacher, gaussian, sjlt, kronecker, identity.
        dim: k, the width of a projected vector.
        seed: of the map; vectors of different seeds cannot be compared.
        options: of the type, e.g. {"terms": 2}; what is left out takes the type's default.
    """

    type: str = "tensor_sketch"
    dim: int = 512
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"ProjectionSpec: type must be one of {', '.join(TYPES)}, got {self.type!r}; choose one")
        for name, low in (("dim", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(
                    f"ProjectionSpec: {name} must be an integer of at least {low}, got {value!r}; give a number"
                )
        known = TYPES[self.type].options
        for name in self.options:
            if name not in known:
                raise ValueError(
                    f"ProjectionSpec: options of {self.type} must be among {sorted(known)}, got {name!r}; remove it"
                )

    def resolved_options(self) -> dict[str, Any]:
        """The type's options with defaults filled in."""
        return {**TYPES[self.type].options, **self.options}


_WRAPPER_PARTS = ("_orig_mod", "module", "_fsdp_wrapped_module", "base_layer")


def canonical_name(name: str) -> str:
    """A parameter's name without the prefixes that wrappers add (compile, DDP, FSDP, peft).

    >>> canonical_name("module._orig_mod.blocks.0.attn1.to_q.base_layer.weight")
    'blocks.0.attn1.to_q.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPER_PARTS)


class Projector:
    """P of a whole model: the sum over its parameters of each one's own fixed map.

    A vector depends on the spec, the parameter's name and its shape alone: not on the device, the batch, the
    order of parameters, or which route and implementation computed it (beyond rounding).

    Args:
        spec: the map.
        parameters: name -> shape, e.g. {"blocks.0.ffn.net.2.weight": (1536, 8960)}.

    Raises:
        ValueError: a name or shape cannot be projected.
    """

    def __init__(self, spec: ProjectionSpec, parameters: Mapping[str, Sequence[int]]) -> None:
        if not isinstance(spec, ProjectionSpec):
            raise fail("Projector", "spec", "a ProjectionSpec", repr(spec), "make one")
        if not isinstance(parameters, Mapping):
            raise fail("Projector", "parameters", "a dict of name -> shape", repr(parameters), "name each shape")
        shapes: dict[str, Shape] = {}
        for raw_name, raw_shape in sorted(parameters.items()):
            name, shape = canonical_name(raw_name), _shape(raw_name, raw_shape)
            if name in shapes:
                raise ValueError(f"Projector: parameter names must be unique, got {name!r} twice; rename one")
            shapes[name] = shape or (1,)
        if not shapes or any(min(shape) < 1 for shape in shapes.values()):
            raise ValueError(
                f"Projector: parameters must be a non-empty dict of name -> non-empty shape, got {shapes}; "
                "leave empty parameters out"
            )
        self.spec = spec
        self.shapes: Mapping[str, Shape] = shapes
        self._type: ProjectionType = TYPES[spec.type]
        self._options = spec.resolved_options()
        self._type.validate(spec.dim, self._options, shapes)
        self._maps: dict[str, ParameterMap] = {}

    @property
    def dim(self) -> int:
        """k, the width of a projected vector."""
        return self.spec.dim

    @property
    def fields(self) -> dict[str, Any]:
        """What defines the map, as JSON-able fields; two vectors are comparable iff these are equal."""
        return {
            "format": FORMAT_VERSION,
            "kind": self.spec.type,
            "dim": self.spec.dim,
            "seed": self.spec.seed,
            "options": dict(self._options),
            "parameters": {name: list(shape) for name, shape in self.shapes.items()},
        }

    @property
    def identity(self) -> str:
        """A stable string; equal iff vectors are comparable."""
        text = json.dumps(self.fields, sort_keys=True, separators=(",", ":"))
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return f"{self.spec.type}-{self.spec.dim}-{self.spec.seed}-{digest}"

    def zeros(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """A fresh float32 [n, dim] to add into."""
        return torch.zeros(n, self.dim, dtype=torch.float32, device=device)

    def project(self, grads: Mapping[str, Any], *, impl: str | None = None) -> Tensor:
        """Project per-sample gradients of all parameters given: the materialized route.

        Args:
            grads: name -> [n, *shape]; a torch tensor or any array with DLPack (NumPy, CuPy, JAX). Parameters left out
                count as zero.
            impl: implementation to force, or None.

        Returns:
            float32 [n, dim] on the gradients' device.

        Raises:
            ValueError: an unknown name, a wrong shape or unequal n.
        """
        if not isinstance(grads, Mapping):
            raise fail("project", "grads", "a dict of name -> [n, *shape]", type(grads).__name__, "name each gradient")
        tensors = {name: as_tensor("project", name, grad) for name, grad in grads.items()}
        if not tensors:
            raise ValueError("project: grads is empty; give at least one parameter, name -> [n, *shape]")
        first = next(iter(tensors.values()))
        z = self.zeros(first.shape[0], first.device)
        parts = [self._checked("project", z, name, grad) for name, grad in tensors.items()]
        type(parts[0][0]).project_many_into(z, parts, impl)
        return z

    def project_into(self, z: Tensor, name: str, grad: Any, *, impl: str | None = None) -> None:
        """Add one parameter's projected per-sample gradients [n, *shape] to z [n, dim] in place."""
        own, grad = self._checked("project_into", z, name, as_tensor("project_into", name, grad))
        own.project_into(z, grad, impl)

    def _checked(self, where: str, z: Tensor, name: str, grad: Tensor) -> tuple[ParameterMap, Tensor]:
        """The map of a parameter, and its gradient [n, *shape] after its checks."""
        name = self._known(where, name)
        shape = self.shapes[name]
        if tuple(grad.shape[1:]) != shape and not (shape == (1,) and grad.ndim == 1):
            raise ValueError(
                f"{where}: {name} must be [n, {', '.join(map(str, shape))}], got {list(grad.shape)}; "
                "put the sample axis first"
            )
        self._check_z(where, z, grad.shape[0])
        return self._map(name), grad.reshape(grad.shape[0], *shape)

    def project_outer_into(
        self,
        z: Tensor,
        name: str,
        x: Tensor,
        dy: Tensor,
        lengths: Tensor | None = None,
        *,
        impl: str | None = None,
    ) -> None:
        """Add the projection of sum_t dy_t x_t^T to z in place, without forming it where the type allows: the factorized route.

        Args:
            z: float32 [n, dim].
            name: a parameter with two or more axes, seen as [o, i] = [first, product of the others].
            x: [n, t, i] inputs of the layer.
            dy: [n, t, o] gradients of its outputs.
            lengths: int64 [n], tokens that count in each sample; None for all.
            impl: implementation to force, or None.
        """
        name = self._known("project_outer_into", name)
        shape = self.shapes[name]
        o, i = shape[0], math.prod(shape[1:])
        check_tokens("project_outer_into", x, dy)
        self._check_z("project_outer_into", z, x.shape[0])
        if len(shape) < 2 or x.shape[-1] != i or dy.shape[-1] != o:
            raise ValueError(
                f"project_outer_into: {name} of shape {list(shape)} must take x [n, t, {i}] and dy [n, t, {o}], "
                f"got {list(x.shape)} and {list(dy.shape)}; use project_into for parameters with one axis"
            )
        self._map(name).project_outer_into(z, x, dy, lengths, impl)

    def sketch_inputs(self, name: str, x: Tensor, *, impl: str | None = None) -> Tensor | None:
        """What project_sketched_into needs of a layer's inputs x [..., i]: float32 [..., dim], or None.

        None where the type needs x itself, or x takes no more memory than that.
        """
        name = self._known("sketch_inputs", name)
        if 4 * self.dim >= x.shape[-1] * x.element_size():
            return None
        sketched = self._map(name).sketch_inputs(x.reshape(-1, x.shape[-1]), impl)
        return None if sketched is None else sketched.reshape(*x.shape[:-1], self.dim)

    def project_sketched_into(
        self, z: Tensor, name: str, sketched: Tensor, dy: Tensor, *, impl: str | None = None
    ) -> None:
        """As project_outer_into, with the inputs as sketch_inputs gave them: sketched [n, t, dim], dy [n, t, o]."""
        self._map(self._known("project_sketched_into", name)).project_sketched_into(z, sketched, dy, impl)

    def has_factorized_form(self, name: str) -> bool:
        """Whether project_outer_into avoids forming this parameter's gradient; it depends on the type."""
        return self._map(self._known("has_factorized_form", name)).has_factorized_form

    def matrix(self, name: str) -> NDArray[np.float64]:
        """Explicit P of one small parameter: float64 [dim, number of elements]."""
        return self._map(self._known("matrix", name)).matrix()

    def _check_z(self, where: str, z: Tensor, n: int) -> None:
        if not isinstance(z, Tensor) or z.shape != (n, self.dim):
            got = list(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise fail(where, "z", f"a tensor [{n}, {self.dim}]", got, "use projector.zeros(n)")

    def _known(self, where: str, name: str) -> str:
        canonical = canonical_name(name) if isinstance(name, str) else ""
        if canonical not in self.shapes:
            raise ValueError(
                f"{where}: name must be one of the projector's {len(self.shapes)} parameters, got {name!r}; "
                "list it when making the Projector"
            )
        return canonical

    def _map(self, name: str) -> ParameterMap:
        if name not in self._maps:
            self._maps[name] = self._type.build(
                name, self.shapes[name], self.spec.dim, self.spec.seed, self._options, self.shapes
            )
        return self._maps[name]


def as_tensor(where: str, name: str, array: Any) -> Tensor:
    """A floating torch tensor of any DLPack array: the same memory but where torch could not express its strides."""
    if not isinstance(array, Tensor):
        array = _from_dlpack(where, name, array)
    if not array.is_floating_point() or array.ndim < 1 or array.layout != torch.strided:
        got = f"{array.dtype} {list(array.shape)}" + ("" if array.layout == torch.strided else f", {array.layout}")
        raise fail(where, name, "dense floating point with a sample axis", got, "convert it")
    return array


def _shape(name: str, lengths: Sequence[int]) -> Shape:
    try:
        return tuple(operator.index(length) for length in lengths)
    except TypeError:
        raise fail("Projector", f"the shape of {name}", "a list of integers", repr(lengths), "give p.shape") from None


def _from_dlpack(where: str, name: str, array: Any) -> Tensor:
    must = f"{where}: {name} must be a tensor or an array with DLPack"
    if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
        raise ValueError(f"{must}, got {type(array).__name__}; convert it")
    if any(stride < 0 for stride in getattr(array, "strides", None) or ()):  # torch would end the process
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{must} without negative strides, got strides {array.strides}; copy it")
        array = array.copy()
    try:
        return torch.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"{must} of a type that torch has, got {type(array).__name__} ({error}); convert it"
        ) from error
