"""Entities that a tagger finds, as whole spans: precision, recall and F1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lm.metrics.sums import ExactSum, row_weights

Entity = tuple[str, int, int]
"""Type, first word, word after the last."""


def are_entity_tags(label_names: Sequence[str]) -> bool:
    """Whether all names are O or B-, I-, E- or S- and a type: BIO or BIOES.

    Example:

    >>> are_entity_tags(["O", "B-person", "I-person"]), are_entity_tags(["NOUN", "VERB", "X"])
    (True, False)
    """
    return all(re.fullmatch("O|[BIES]-.+", name) for name in label_names)


def entity_tables(label_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Where entities begin and end, by the ids of two neighbouring tags.

    The rules are those of `conlleval`, and of seqeval's default: a tag begins an entity that is
    B or S, or I or E behind O, E or S or behind another type; so tags that break the scheme count
    as what they look like.

    Args:
        label_names: C names, BIO or BIOES.

    Returns:
        `begins` and `ends`, bool [C + 1, C + 1]: whether the right one of two tags begins an
        entity, and whether the left one ends one, where the id C stands for what is before the
        first tag and after the last; and the type of each id, `""` for O and C.

    Raises:
        ValueError: a name is of another form.

    Example:

    >>> begins, ends, types = entity_tables(["O", "B-x", "I-x"])
    >>> bool(begins[0, 2]), bool(begins[1, 2]), bool(ends[2, 1]), types
    (True, False, True, ('', 'x', 'x', ''))
    """
    if not are_entity_tags(label_names):
        raise ValueError(
            f"label_names is {list(label_names)!r}; entities need O, and B-type, I-type and, "
            "where they are used, E-type and S-type"
        )
    prefixes = [name[0] for name in label_names] + ["O"]
    types = (*(name[2:] for name in label_names), "")
    size = len(types)
    begins, ends = np.zeros([size, size], bool), np.zeros([size, size], bool)
    for left in range(size):
        for right in range(size):
            parted = (
                types[left] != types[right] or prefixes[left] in "ES" or prefixes[right] in "BS"
            )
            begins[left, right] = parted and prefixes[right] != "O"
            ends[left, right] = parted and prefixes[left] != "O"
    return begins, ends, types


@keras.saving.register_keras_serializable("keras_lm")
class EntityF1(keras.metrics.Metric):
    """F1 of whole entities over all batches: those found, of right type and extent.

    The number that seqeval's default mode gives, without leaving the graph. A sentence that is
    read in several windows counts in each the entities of the words that count there, so that one
    across the border is two; `entity_scores` on whole sentences does not cut.

    Args:
        label_names: the name of each tag id, BIO or BIOES.
        name: default `"entity_f1"`.
        dtype: as in any Keras metric; the counts are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: a name is neither O nor B-, I-, E- or S- and a type.

    Example:

    >>> import numpy as np
    >>> metric = EntityF1(["O", "B-person", "I-person"])
    >>> metric.update_state(np.array([[1, 2, 0, 1]]), np.array([[1, 2, 0, 0]]))
    >>> round(float(metric.result()), 4)    # 1 of 2 is found, and nothing else
    0.6667
    """

    _direction = "up"

    def __init__(
        self, label_names: Sequence[str], name: str = "entity_f1", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.label_names = tuple(label_names)
        self._begins, self._ends, types = entity_tables(self.label_names)
        kinds = sorted(set(types))
        self._kinds = np.array([kinds.index(kind) for kind in types], "int32")
        self._counts = ExactSum(self, "counts", (3,))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: int [B, T], tag ids.
            y_pred: int [B, T], tag ids, or float [B, T, C], logits.
            sample_weight: [B, T]; what has weight 0, such as padding and the later sub-words of a
                word, is skipped over: its neighbours stand side by side. Other weights count 1.
        """
        if len(y_pred.shape) > len(y_true.shape):
            y_pred = ops.argmax(y_pred, axis=-1)
        counted = row_weights(sample_weight, y_true) > 0
        order, rest = _counted_first(counted)

        def entities(tags: Any) -> tuple[Any, Any, Any]:
            tags = ops.take_along_axis(ops.cast(tags, "int32"), order, axis=1)
            return self._entities(ops.where(rest, len(self.label_names), tags))

        begins, end, kind = entities(y_true)
        found_begins, found_end, found_kind = entities(y_pred)
        right = begins & found_begins & (end == found_end) & (kind == found_kind)
        numbers = [ops.sum(ops.cast(each, "float32")) for each in (right, found_begins, begins)]
        self._counts.add(ops.stack(numbers))

    def _entities(self, tags: Any) -> tuple[Any, Any, Any]:
        """Of tags [B, T]: whether each begins an entity, where that one ends, and its kind."""
        size = len(self._kinds)
        outside = ops.full_like(tags[:, :1], size - 1)
        before = ops.concatenate([outside, tags[:, :-1]], axis=1)
        after = ops.concatenate([tags[:, 1:], outside], axis=1)
        begins = ops.take(ops.convert_to_tensor(self._begins.ravel()), before * size + tags)
        ends = ops.take(ops.convert_to_tensor(self._ends.ravel()), tags * size + after)
        # Entities do not overlap, so the n-th to begin is the n-th to end.
        place = ops.broadcast_to(ops.arange(ops.shape(tags)[1], dtype="int32"), ops.shape(tags))
        in_order = ops.sort(ops.where(ends, place, ops.shape(tags)[1]), axis=1)
        number = ops.maximum(ops.cumsum(ops.cast(begins, "int32"), axis=1) - 1, 0)
        end = ops.take_along_axis(in_order, number, axis=1)
        return begins, end, ops.take(ops.convert_to_tensor(self._kinds), tags)

    def result(self) -> Any:
        """float32 scalar, 0 to 1; 0 where there are no entities."""
        right, found, true = ops.unstack(self._counts.rounded(), 3)
        return ops.divide_no_nan(2 * right, found + true)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_names": list(self.label_names)}


def _counted_first(counted: Any) -> tuple[Any, Any]:
    """An order [B, T] of positions, the counted ones first, and where in it the others stand."""
    length = ops.shape(counted)[1]
    place = ops.arange(length, dtype="int32")
    order = ops.argsort(ops.where(counted, place, place + length), axis=1)
    return order, place >= ops.sum(ops.cast(counted, "int32"), axis=1, keepdims=True)


def entity_scores(
    true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of whole entities, for each type and in all, as seqeval's report.

    Args:
        true: the tags of each sentence, BIO or BIOES.
        predicted: those that were found.

    Returns:
        For each type, in alphabetic order, and for `"micro avg"` (all entities), `"macro avg"`
        (the mean of the types) and `"weighted avg"` (by support): `precision`, `recall` and `f1`,
        0 to 1 and 0 where nothing was found or there; and `support`, the true entities.

    Raises:
        ValueError: the lists differ in length, or a tag is of another form.

    Example:

    >>> scores = entity_scores([["B-person", "I-person", "O"]], [["B-person", "O", "O"]])
    >>> scores["person"]
    {'precision': 0.0, 'recall': 0.0, 'f1': 0.0, 'support': 1}
    """
    if len(true) != len(predicted):
        raise ValueError(f"predicted has {len(predicted)} sentences; true has {len(true)}")
    counts: dict[str, Counter[str]] = {"right": Counter(), "found": Counter(), "true": Counter()}
    for number, (own, found) in enumerate(zip(true, predicted, strict=True)):
        if len(own) != len(found):
            raise ValueError(f"predicted[{number}] has {len(found)} tags; true has {len(own)}")
        entities = tag_entities(own, f"true[{number}]")
        found_entities = tag_entities(found, f"predicted[{number}]")
        for name, chosen in (
            ("right", set(entities) & set(found_entities)),
            ("found", found_entities),
            ("true", entities),
        ):
            counts[name].update(kind for kind, _, _ in chosen)
    types = sorted(set(counts["found"]) | set(counts["true"]))
    scores = {kind: _scores(*(counts[name][kind] for name in counts)) for kind in types}
    averages = {"micro avg": _scores(*(counts[name].total() for name in counts))}
    total = counts["true"].total()
    for name, weights in (
        ("macro avg", [1 / max(len(types), 1)] * len(types)),
        ("weighted avg", [counts["true"][kind] / max(total, 1) for kind in types]),
    ):
        averages[name] = {
            measure: sum(
                weight * scores[kind][measure] for kind, weight in zip(types, weights, strict=True)
            )
            for measure in ("precision", "recall", "f1")
        } | {"support": total}
    return scores | averages


def tag_entities(tags: Sequence[str], name: str = "tags") -> list[Entity]:
    """The entities of a sentence's tags, in order.

    Args:
        tags: BIO or BIOES.
        name: how a message calls them.

    Raises:
        ValueError: a tag is of another form.

    Example:

    >>> tag_entities(["B-person", "I-person", "O", "I-place"])
    [('person', 0, 2), ('place', 3, 4)]
    """
    for number, tag in enumerate(tags):
        if not are_entity_tags([tag]):
            raise ValueError(
                f"{name}[{number}] is {tag!r}; it must be O, or B-, I-, E- or S- and a type"
            )
    names = sorted(set(tags))
    begins, ends, types = entity_tables(names)
    ids = [names.index(tag) for tag in tags]
    outside = [len(names)]
    pairs = list(zip(outside + ids, ids + outside, strict=True))
    first = [place for place, pair in enumerate(pairs) if begins[pair]]
    last = [place for place, pair in enumerate(pairs) if ends[pair]]
    return [(types[ids[a]], a, b) for a, b in zip(first, last, strict=True)]


def _scores(right: int, found: int, true: int) -> dict[str, float]:
    return {
        "precision": right / found if found else 0.0,
        "recall": right / true if true else 0.0,
        "f1": 2 * right / (found + true) if found + true else 0.0,
        "support": true,
    }
