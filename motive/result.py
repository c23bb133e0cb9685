"""Results of the verbs: text for a terminal, plain values for a program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from motive.config import to_json


class Result(ABC):
    """The outcome of a verb; a frozen dataclass in each case."""

    @abstractmethod
    def lines(self) -> list[str]:
        """The outcome for a person, one string a line."""

    def to_json(self) -> Any:
        """The outcome as dicts, lists, text and numbers, ready for json.dumps."""
        return to_json(self)
