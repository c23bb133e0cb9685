"""Models: one adapter a family, found by name, by diffusers folder or by hub id."""

from __future__ import annotations

from motive.adapters.base import Adapter, Conditioning, Expert, batch_conditioning
from motive.adapters.cache import Cache
from motive.adapters.registry import families, load_adapter

__all__ = ["Adapter", "Cache", "Conditioning", "Expert", "batch_conditioning", "families", "load_adapter"]
