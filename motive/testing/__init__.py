"""Contract suites for adapters, dataset formats and motion sources of other packages; needs pytest.

Subclass a suite in a test file, give it what is yours, and run pytest; each suite's docstring says what it needs.
"""

from __future__ import annotations

import pytest

for _module in ("adapters", "formats", "motion"):
    pytest.register_assert_rewrite(f"motive.testing.{_module}")

from motive.testing.adapters import AdapterCase, AdapterContract  # noqa: E402 - after the lines above
from motive.testing.formats import Entry, FormatContract, place_videos  # noqa: E402
from motive.testing.motion import MotionSourceContract  # noqa: E402

__all__ = ["AdapterCase", "AdapterContract", "Entry", "FormatContract", "MotionSourceContract", "place_videos"]
