"""From scores to a smaller dataset: the best clips, written in the form they came in."""

from __future__ import annotations

from motive.curate.amounts import parse_amount
from motive.curate.config import SelectConfig
from motive.curate.selection import Selection, select
from motive.scores.selection import RECORD

__all__ = ["RECORD", "SelectConfig", "Selection", "parse_amount", "select"]
