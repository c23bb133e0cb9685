"""Reports the clips in flight, so that a clip that crashes its worker can be identified."""

from __future__ import annotations

from collections.abc import Sequence


class InFlight:
    """The clips being processed; this one reports to nobody."""

    def enter(self, clip_ids: Sequence[str]) -> None:
        """Processing of these clips starts."""

    def leave(self, clip_ids: Sequence[str]) -> None:
        """These clips are finished or have failed."""
