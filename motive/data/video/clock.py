"""Display time of each frame, from time stamps that may be missing, equal or jump back."""

from __future__ import annotations

from collections.abc import Callable

from motive.errors import ClipError

MAX_JUMPS = 8
"""Time stamps that may jump back in the decoded part of a clip. More of them mean that the order of the frames is in
doubt, and with it every motion."""


class Clock:
    """Seconds from the first frame, never descending, for frames in order of display.

    A frame without a time stamp follows its predecessor. A time stamp earlier than the predecessor's jumps back: by up
    to one nominal frame, the frame takes its predecessor's place; by more, a new recording starts, which follows its
    predecessor. Equal time stamps do not jump: the later frame is shown.

    Args:
        name: of the file, for messages.
        step_s: seconds of a nominal frame.
        note: receives the text of each jump.
    """

    def __init__(self, name: str, step_s: float, note: Callable[[str], None]) -> None:
        self._name, self._step_s, self._note = name, step_s, note
        self._zero: float | None = None
        self._start = 0.0
        self._before = 0.0
        self._jumps = 0

    def place(self, number: int, stamp_s: float | None, expected_s: float) -> float:
        """When a frame is shown.

        Args:
            number: of the frame, from 0.
            stamp_s: its time stamp on the file's clock, or None.
            expected_s: when its predecessor leaves, in seconds from the first frame.

        Raises:
            ClipError: bad_time_stamps, after more than MAX_JUMPS jumps.
        """
        if stamp_s is None:
            self._start = expected_s
            return self._start
        if self._zero is None:
            self._zero = stamp_s - expected_s
        elif stamp_s - self._zero < self._start - 1e-9:
            self._jumped(number, stamp_s)
            if stamp_s - self._zero < self._start - self._step_s:
                self._zero = stamp_s - expected_s
        self._start = max(stamp_s - self._zero, self._start)
        self._before = stamp_s
        return self._start

    def _jumped(self, number: int, stamp_s: float) -> None:
        self._jumps += 1
        detail = (
            f"the time stamp of frame {number} of {self._name} jumps back from {self._before:.6g} s to {stamp_s:.6g} s"
        )
        if self._jumps > MAX_JUMPS:
            raise ClipError(
                "bad_time_stamps", f"{detail}, the {self._jumps}th jump; more than {MAX_JUMPS} leave the order in doubt"
            )
        self._note(detail)
