"""Hyper-parameters of the embeddings of a knowledge graph."""

from __future__ import annotations

import dataclasses
from typing import Literal

from keras_lm.config.base import Config, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnowledgeGraphConfig(Config):
    """How the entities and relations of a graph are embedded.

    Args:
        num_entities: E.
        num_relations: R; each has an inverse beside it, with a vector of its own.
        dim: how many numbers an entity has: real ones for `"distmult"`; complex ones for
            `"complex"`, as in its paper, which are 2 · dim real ones.
        method: `"complex"` (Trouillon et al. 2016), which can tell head from tail; or `"distmult"`
            (Yang et al. 2015), its real part, which cannot but by the inverse relations.
        negatives: random entities that the tails of a batch are told apart from. Where the graph
            has no more than that, all are taken, and the softmax is exact.
        regularization: the weight of the third powers of the numbers' absolute values in the loss
            (N3: Lacroix et al. 2018). The default is for graphs like WordNet, with few triples an
            entity; with many, as in UMLS, 0.01 does better.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> klm.KnowledgeGraphConfig(num_entities=9, num_relations=2, dim=8).width
    16
    """

    num_entities: int
    num_relations: int
    dim: int = 200
    method: Literal["complex", "distmult"] = "complex"
    negatives: int = 2000
    regularization: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_entities", "num_relations", "dim", "negatives"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        require(self.regularization >= 0, "regularization", self.regularization, "0 or more")

    @property
    def width(self) -> int:
        """D, the real numbers that an entity or a relation is stored as."""
        return 2 * self.dim if self.method == "complex" else self.dim

    @property
    def compares_all(self) -> bool:
        """Whether a batch's tails are told apart from all entities, and not from random ones."""
        return self.negatives >= self.num_entities
