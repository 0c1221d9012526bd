"""Which of our variables stands in which tensors: the family's map, and what it has no name for."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from keras_lm.config import Config
from keras_lm.families import Family, Head, Weight
from keras_lm.families.base import linear
from keras_lm.models import Backbone

OWN_PREFIX = "keras_lm."
"""What the names of tensors begin with for which the family has none."""

Variables = Mapping[str, keras.Variable]
"""Variables by their path below the model's or the task's name."""


def variables_of(model: keras.Model) -> dict[str, keras.Variable]:
    """The model's weights by their path below its name."""
    return {variable.path.split("/", 1)[1]: variable for variable in model.weights}


def weight_map(model: Backbone, family: Family, head: Head | None) -> list[Weight]:
    """The map of the model's weights, in files that hold a certain head."""
    if family.weights is None:
        return [Weight(path, path) for path in variables_of(model)]
    weights = family.weights(model.config)
    if head is None or head.pooler is None or getattr(model.config, "pooler", None) is None:
        return weights
    rest = [weight for weight in weights if not weight.ours.startswith("pooler/")]
    return [*rest, *linear("pooler", head.pooler)]


def pooler_name(family: Family, head: Head | None) -> tuple[str, ...]:
    """The tensors of the pooler, in files that hold a certain head."""
    if family.weights is None:
        return "pooler/kernel", "pooler/bias"
    dense = head.pooler if head is not None and head.pooler else family.pooler
    return f"{dense}.weight", f"{dense}.bias"


def head_map(
    family: Family, kind: str | None, config: Config, variables: Variables
) -> list[Weight]:
    """The map of a task's own variables; the family has names for some of them, or for none."""
    head = family.heads.get(kind or "")
    weights = [] if head is None else [w for w in head.weights(config) if w.ours in variables]
    named = {weight.ours for weight in weights}
    rest = [path for path in variables if path not in named]
    return weights + [Weight(path, OWN_PREFIX + path.replace("/", ".")) for path in rest]
