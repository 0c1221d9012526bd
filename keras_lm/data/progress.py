"""A progress bar that stays away from work that is soon done."""

from __future__ import annotations

import importlib.util
import time
from types import TracebackType
from typing import Any

SECONDS_BEFORE_BAR = 2.0


class LateBar:
    """A bar with the time left that appears once the work has taken two seconds.

    Args:
        doing: what is being done, shown before the bar.
        total: how much there is to do, in any unit; None where nobody knows.

    Example:

    >>> with LateBar("counting", total=3) as bar:
    ...     for number in range(3):
    ...         bar.advance_to(number + 1)
    """

    def __init__(self, doing: str, total: int | None) -> None:
        self._doing, self._total = doing, total
        self._appears = time.monotonic() + SECONDS_BEFORE_BAR
        self._bar: Any = None

    def __enter__(self) -> LateBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance_to(self, done: int) -> None:
        """Says how much of the total is done by now."""
        if self._bar is None:
            if time.monotonic() < self._appears:
                return
            from rich.console import Console
            from rich.progress import Progress

            # In a notebook rich draws with ipywidgets, and warns where there are none.
            has_widgets = importlib.util.find_spec("ipywidgets") is not None
            # Standard error: what a program prints, or a doctest compares, stays its own.
            jupyter = None if has_widgets else False
            self._bar = Progress(console=Console(stderr=True, force_jupyter=jupyter))
            self._bar.add_task(self._doing, total=self._total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done)
