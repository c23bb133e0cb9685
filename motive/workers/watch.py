"""Being told which clips are worked on, so that the one that ends its process is known."""

from __future__ import annotations

from collections.abc import Sequence


class Watch:
    """Told which clips are being worked on; this one tells nobody."""

    def begins(self, clip_ids: Sequence[str]) -> None:
        """Work on these clips begins."""

    def ends(self, clip_ids: Sequence[str]) -> None:
        """These clips are through, done or failed."""
