"""The motion source of this tree keeps the published contract; sources of other packages run the same suite."""

from __future__ import annotations

from motive.testing import MotionSourceContract


class TestDis(MotionSourceContract):
    source = "dis"
