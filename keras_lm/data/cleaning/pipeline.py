"""Cleaning steps one after the other over many texts, with an account of what each did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from keras_lm.data.progress import LateBar

# A step changes a text, or says whether to keep it.
Step = Callable[[str], str] | Callable[[str], bool]


@dataclass
class StepCounts:
    """What one step did: how many texts it saw, changed and dropped."""

    name: str
    seen: int = 0
    changed: int = 0
    dropped: int = 0


@dataclass
class Cleaned:
    """What `clean` made of the texts.

    Args:
        texts: those that are left, cleaned.
        kept: where each of them stood among the texts given, from 0, so that labels can follow.
        steps: what every step did; printed, `Cleaned` is a table of it.
    """

    texts: list[str] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    steps: list[StepCounts] = field(default_factory=list)

    def __str__(self) -> str:
        width = max([len("step"), *(len(step.name) for step in self.steps)])
        lines = [f"{'step':{width}}      seen   changed   dropped"]
        lines += [
            f"{step.name:{width}}{step.seen:10,}{step.changed:10,}{step.dropped:10,}"
            for step in self.steps
        ]
        return "\n".join([*lines, f"{len(self.texts):,} texts are left"])


def clean(texts: Iterable[str], *steps: Step) -> Cleaned:
    """Takes every text through the steps in their order; a filter that says False drops it.

    A step is any function of a text: one that returns a string changes the text, one that returns
    a bool keeps or drops it. Options are given by `functools.partial`. A bar with the time left
    appears once it has taken two seconds.

    Args:
        texts: a list, or any iterable of strings.
        steps: functions of this package, of yours, or such as `str.strip`.

    Returns:
        A `Cleaned` with the texts that are left, where they stood, and what every step did.

    Raises:
        ValueError: `texts` is one string, an item is none (the message names its position), or a
            step returns neither a string nor a bool.

    Example:

    >>> from functools import partial
    >>> from keras_lm.data.cleaning import DropDuplicates, has_length, strip_html
    >>> pages = ["<b>One</b>", "One", "<p>", "Two"]
    >>> cleaned = clean(pages, strip_html, str.strip, partial(has_length, minimum=2),
    ...                 DropDuplicates())
    >>> cleaned.texts, cleaned.kept
    (['One', 'Two'], [0, 3])
    >>> print(cleaned)
    step                seen   changed   dropped
    strip_html             4         2         0
    strip                  4         1         0
    has_length             4         0         1
    DropDuplicates         3         0         1
    2 texts are left
    """
    if isinstance(texts, str | bytes):
        raise ValueError(f"texts is one {type(texts).__name__}; give a list of strings")
    cleaned = Cleaned(steps=[StepCounts(_name(step)) for step in steps])
    total = len(texts) if isinstance(texts, Sized) else None
    with LateBar("cleaning", total) as bar:
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(
                    f"texts[{position}] is of type {type(text).__name__}; every item must be a str"
                )
            left = _through(text, steps, cleaned.steps)
            if left is not None:
                cleaned.texts.append(left)
                cleaned.kept.append(position)
            bar.advance_to(position + 1)
    return cleaned


def _through(text: str, steps: Iterable[Step], counts: Iterable[StepCounts]) -> str | None:
    """The text after all steps; None where one dropped it."""
    for step, count in zip(steps, counts):
        count.seen += 1
        result = step(text)
        if isinstance(result, str):
            count.changed += result != text
            text = result
        elif result is False:
            count.dropped += 1
            return None
        elif result is not True:
            raise ValueError(
                f"the step {count.name} returned {type(result).__name__}; it must return a str, "
                "the text, or a bool, whether to keep it"
            )
    return text


def _name(step: Any) -> str:
    if isinstance(step, partial):
        return _name(step.func)
    return getattr(step, "__name__", type(step).__name__)
