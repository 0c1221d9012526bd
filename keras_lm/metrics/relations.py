"""Relations between two marked entities: the macro-averaged F1 of SemEval-2010 task 8."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lm.metrics.classification import ClassCounts


def relation_of(label: str) -> tuple[str, bool | None]:
    """The relation that a label names, and whether the second entity is its head.

    Example:

    >>> relation_of("Cause-Effect(e1,e2)"), relation_of("Cause-Effect(e2,e1)")
    (('Cause-Effect', False), ('Cause-Effect', True))
    >>> relation_of("born_in")    # says nothing of a direction
    ('born_in', None)
    """
    match = re.fullmatch(r"(.+)\((?:e1,e2|(e2,e1))\)", label)
    return (label, None) if match is None else (match[1], match[2] is not None)


def are_directed(labels: Sequence[str]) -> bool:
    """Whether labels say which of two entities is the head: one of them at least.

    Example:

    >>> are_directed(["Other", "Cause-Effect(e1,e2)"]), are_directed(["born_in", "works_for"])
    (True, False)
    """
    return any(relation_of(label)[1] is not None for label in labels)


@keras.saving.register_keras_serializable("keras_lm")
class RelationF1(ClassCounts):
    """F1 of relations over all batches, the mean over the relations, directions heeded.

    The official score of SemEval-2010 task 8 (Hendrickx et al. 2010, "(9+1)-way evaluation taking
    directionality into account"). Labels that differ in `(e1,e2)` and `(e2,e1)` alone are one
    relation. Its precision is how often relation and direction were right of how often it was
    predicted in either direction; its recall, of how often it was true in either. So a wrong
    direction is an error in both. The mean is that of the F1 of each relation that is ever true,
    but for `no_relation`, which is left out.

    Args:
        labels: the name of each class. Those without a direction are relations of their own.
        no_relation: the label that means none; None: every label is a relation.
        name: default `"relation_f1"`.
        dtype: as in any Keras metric; the counts are kept in pairs of float32 whatever it is.

    Raises:
        ValueError: `labels` are not different names, or `no_relation` is none of them or all.

    Example:

    >>> import numpy as np
    >>> labels = ["Other", "Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)"]
    >>> metric = RelationF1(labels)
    >>> metric.update_state(np.array([1, 1, 2, 0]), np.eye(3)[[1, 2, 2, 0]])
    >>> round(float(metric.result()), 4)    # 2 of 3 are right, one has the wrong direction
    0.6667
    """

    def __init__(
        self,
        labels: Sequence[str],
        no_relation: str | None = "Other",
        name: str = "relation_f1",
        dtype: Any = None,
    ) -> None:
        are_names = not isinstance(labels, str) and all(isinstance(one, str) for one in labels)
        if not are_names or len(set(labels)) < len(labels):
            raise ValueError(f"labels is {labels!r}; it must be a list of different names")
        if no_relation is not None and no_relation not in labels:
            raise ValueError(
                f"no_relation is {no_relation!r}, which is not among labels={list(labels)}; give "
                "one of them, or None where each is a relation"
            )
        super().__init__(len(labels), name=name, dtype=dtype)
        self.labels, self.no_relation = tuple(labels), no_relation
        relations = [relation_of(label)[0] for label in labels if label != no_relation]
        names = list(dict.fromkeys(relations))
        table = [[name == relation_of(label)[0] for name in names] for label in labels]
        self._relation = np.array(table, "float32")  # [C, relations]

    def result(self) -> Any:
        """float32 scalar, 0 to 1; 0 where no relation is true."""
        # No product of matrices, which accelerators round.
        counts = ops.sum(ops.expand_dims(self._counts.rounded(), -1) * self._relation, axis=1)
        right, predicted, true = ops.unstack(counts, 3)
        of_relation = ops.divide_no_nan(2 * right, predicted + true)
        occurring = ops.sum(ops.cast(true > 0, "float32"))
        return ops.divide_no_nan(ops.sum(of_relation), occurring)  # others have the F1 0

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["num_classes"]
        return {**config, "labels": list(self.labels), "no_relation": self.no_relation}
