"""Embeddings of a knowledge graph: vectors of entities and relations that say which facts hold."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lm.config import Configured, KnowledgeGraphConfig
from keras_lm.layers.output import linear_cross_entropy
from keras_lm.models.word_vectors.base import rows_of

_FIRST_SPREAD = 1e-3
_MASKED = -1e9


@keras.saving.register_keras_serializable("keras_lm")
class KnowledgeGraphEmbedding(Configured, keras.Model):
    """Entities and relations as vectors h, r and t [D], whose product says how true (h, r, t) is.

        DistMult   Σ h r t                     (Yang et al. 2015, https://arxiv.org/abs/1412.6575)
        ComplEx    Re Σ h r t̄, of complex numbers  (Trouillon et al. 2016,
                                                    https://arxiv.org/abs/1606.06357)

    Either is a query `h r` [D] times the table of entities [E, D], so that one product of matrices
    scores all tails. Complex numbers are stored as their real parts and then their imaginary ones.
    Relation R + r is the inverse of r: who is the head of (?, r, t) is asked as (t, R + r, ?).

    It learns by a softmax over tails, of all entities or of random ones, with the N3 penalty
    (Lacroix et al. 2018, https://arxiv.org/abs/1806.07297). `tasks.LinkPredictor` trains it.

    Args:
        config: a `KnowledgeGraphConfig`.
        dtype: a Keras dtype policy; with `"mixed_bfloat16"` products are taken in bfloat16.

    Raises:
        ValueError: `config` is of another kind.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.KnowledgeGraphConfig(num_entities=5, num_relations=2, dim=4)
    >>> model = klm.models.KnowledgeGraphEmbedding(config)
    >>> model.scores(np.array([0, 3]), np.array([1, 2])).shape
    TensorShape([2, 5])
    """

    config_class = KnowledgeGraphConfig
    family: str | None = None

    def __init__(self, config: KnowledgeGraphConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(config, KnowledgeGraphConfig):
            raise ValueError(f"config must be a KnowledgeGraphConfig; got {config!r}")
        self.config = config
        self.entities, self.relations = (
            self.add_weight(
                shape=(rows, config.width),
                initializer=keras.initializers.RandomNormal(stddev=_FIRST_SPREAD),
                name=name,
            )
            for name, rows in (
                ("entities", config.num_entities),
                ("relations", 2 * config.num_relations),
            )
        )
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    def queries(self, heads: Any, relations: Any) -> Any:
        """What is multiplied with the tails: [B, D] in the compute dtype.

        Args:
            heads: int [B], entities.
            relations: int [B], 0 to R − 1, or R more for their inverses.
        """
        return self._products(rows_of(self.entities, heads), rows_of(self.relations, relations))

    def scores(self, heads: Any, relations: Any) -> Any:
        """How true every tail is: logits float32 [B, E]; arguments as for `queries`."""
        table = ops.cast(self.entities, self.compute_dtype)
        return ops.cast(ops.matmul(self.queries(heads, relations), ops.transpose(table)), "float32")

    def call(self, inputs: dict[str, Any]) -> Any:
        """`scores` of a dict of `heads` and `relations`, int [B] each."""
        return self.scores(inputs["heads"], inputs["relations"])

    def cost(self, inputs: dict[str, Any]) -> Any:
        """The nats of the tails of a batch, and its N3 penalty: sums, float32 [2].

        Args:
            inputs: what `data.triples.TripleExamples` gives.
        """
        weights = inputs["weights"]
        if self.config.compares_all:
            entities = ops.convert_to_tensor(self.entities)
        else:
            entities = rows_of(self.entities, inputs["entity_rows"])
        heads, tails = (ops.take(entities, inputs[name], axis=0) for name in ("heads", "tails"))
        relations = ops.take(
            rows_of(self.relations, inputs["relation_rows"]), inputs["relations"], axis=0
        )
        queries = self._products(heads, relations)
        if self.config.compares_all:
            nats, *_ = linear_cross_entropy(
                queries[:, None], entities, inputs["tails"][:, None], weights[:, None]
            )
        else:
            nats = self._sampled_nats(queries, entities, tails, inputs)
        cubes = sum(ops.sum(self._moduli(rows) ** 3, axis=-1) for rows in (heads, relations, tails))
        return ops.stack([nats, self.config.regularization * ops.sum(weights * cubes)])

    def _sampled_nats(self, queries: Any, entities: Any, tails: Any, inputs: Any) -> Any:
        """−Σ log of a softmax over the tail and random entities, which stand for all others."""
        noise = ops.take(entities, inputs["negatives"], axis=0)
        noise, tails = (ops.cast(rows, self.compute_dtype) for rows in (noise, tails))
        stands_for = math.log(self.config.num_entities / noise.shape[0])
        false = ops.cast(ops.matmul(queries, ops.transpose(noise)), "float32") + stands_for
        is_tail = inputs["tails"][:, None] == inputs["negatives"][None]
        false = ops.where(is_tail, _MASKED, false)
        true = ops.sum(ops.cast(queries * tails, "float32"), axis=-1, keepdims=True)
        every = ops.concatenate([true, false], axis=-1)
        return ops.sum(inputs["weights"] * (ops.logsumexp(every, axis=-1) - true[:, 0]))

    def _products(self, heads: Any, relations: Any) -> Any:
        """h r of rows [B, D]: of each number with that in its place, real or complex."""
        heads, relations = (ops.cast(rows, self.compute_dtype) for rows in (heads, relations))
        if self.config.method == "distmult":
            return heads * relations
        h, ih = ops.split(heads, 2, axis=-1)
        r, ir = ops.split(relations, 2, axis=-1)
        return ops.concatenate([h * r - ih * ir, h * ir + ih * r], axis=-1)

    def _moduli(self, rows: Any) -> Any:
        """The absolute values of the numbers of rows [B, D], float32."""
        rows = ops.cast(rows, "float32")
        if self.config.method == "distmult":
            return ops.abs(rows)
        real, imaginary = ops.split(rows, 2, axis=-1)
        return ops.sqrt(real**2 + imaginary**2 + 1e-20)  # the root has no slope at 0

    def table(self) -> np.ndarray:
        """The vectors of the entities, float32 [E, D]."""
        return np.asarray(ops.convert_to_numpy(ops.cast(self.entities, "float32")))
