"""Hyper-parameters of Transformers."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from keras_lm.config.base import Config, derived, require

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "swiglu", "geglu"]
PositionKind = Literal["learned", "rotary", "sinusoidal", "relative", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PositionConfig(Config):
    """How a model knows where a token stands.

    Args:
        kind: `"learned"` (a table of `max_length` vectors), `"rotary"` (queries and keys are
            turned by an angle that grows with the position, https://arxiv.org/abs/2104.09864),
            `"sinusoidal"` (https://arxiv.org/abs/1706.03762), `"relative"` (every head adds a
            number to its scores that the distance decides, https://arxiv.org/abs/1910.10683) or
            `"none"`. The bare word is accepted wherever this config is.
        rotary_base: the base of the rotary angles' geometric series.
        relative_buckets: into so many kinds distances are sorted: half of them single ones, the
            others ever wider; an encoder uses half of them for each direction.
        relative_distance: from this distance on all are of one kind.
    """

    kind: PositionKind = "learned"
    rotary_base: float = 10000.0
    relative_buckets: int = 32
    relative_distance: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rotary_base > 0, "rotary_base", self.rotary_base, "positive")
        buckets = self.relative_buckets
        require(buckets > 0 and buckets % 4 == 0, "relative_buckets", buckets, "a multiple of 4")
        require(
            self.relative_distance > buckets // 2,
            "relative_distance",
            self.relative_distance,
            f"above relative_buckets / 2 = {buckets // 2}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionConfig(Config):
    """The parts of attention that most models leave alone.

    Args:
        head_dim: width H of a head; default `hidden_dim // num_heads`.
        bias: bias of the query, key and value projections; default the model's `use_bias`.
        output_bias: bias of the output projection; default the model's `use_bias`.
        dropout: dropout of the attention probabilities; default the model's `dropout`.
        scaled: scores are divided by √H; T5 leaves them as they are.
        query_key_norm: RMS-normalise every head's query and key, as Qwen 3 does.
        sliding_window: a token sees itself and the `sliding_window - 1` tokens before it;
            default: all.
    """

    head_dim: int = derived()
    bias: bool = derived()
    output_bias: bool = derived()
    dropout: float = derived()
    scaled: bool = True
    query_key_norm: bool = False
    sliding_window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("head_dim", "sliding_window"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "positive")
        if self.dropout is not None:
            require(0 <= self.dropout < 1, "attention dropout", self.dropout, "in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig(Config):
    """A Transformer's hyper-parameters. The defaults make a GPT-2.

    Args:
        vocab_size: V, the number of token ids.
        num_layers: L.
        hidden_dim: D, the width of the residual stream.
        num_heads: N, the number of query heads.
        num_kv_heads: K, the number of key and value heads; N must be a multiple of it.
            Default: `num_heads`. Fewer make grouped-query attention
            (https://arxiv.org/abs/2305.13245).
        feed_forward_dim: F; default `4 * hidden_dim`.
        max_length: the longest sequence, in tokens.
        dropout: dropout of the embeddings and of all branches of a block.
        feed_forward_dropout: dropout between the two layers of the feed-forward.
        norm: `"layer"` or `"rms"` (https://arxiv.org/abs/1910.07467).
        norm_epsilon: added to the variance.
        norm_position: `"pre"` normalises what enters a branch (and the last output),
            `"post"` what leaves the residual sum.
        activation: of the feed-forward; `"swiglu"` and `"geglu"` are gated
            (https://arxiv.org/abs/2002.05202; the gelu of `"geglu"` is GPT-2's), `"gelu"` is
            exact, `"gelu_tanh"` GPT-2's.
        use_bias: biases in the linear layers.
        tie_embeddings: the output layer uses the token embeddings.
        initializer_range: standard deviation of the initial weights.
        positions: a `PositionConfig`, or its kind as a word.
        attention: an `AttentionConfig`.

    Raises:
        ValueError: a field has a wrong type or value; the message names it.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=100, num_layers=2, hidden_dim=32, num_heads=4)
    >>> config.feed_forward_dim, config.num_kv_heads, config.attention.head_dim
    (128, 4, 8)
    >>> klm.TransformerConfig.from_config(config.get_config()) == config
    True
    """

    vocab_size: int
    num_layers: int
    hidden_dim: int
    num_heads: int
    num_kv_heads: int = derived()
    feed_forward_dim: int = derived()
    max_length: int = 1024
    dropout: float = 0.0
    feed_forward_dropout: float = 0.0
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = 1e-5
    norm_position: Literal["pre", "post"] = "pre"
    activation: Activation = "gelu_tanh"
    use_bias: bool = True
    tie_embeddings: bool = True
    initializer_range: float = 0.02
    positions: PositionConfig = PositionConfig()
    attention: AttentionConfig = AttentionConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("vocab_size", "num_layers", "hidden_dim", "num_heads", "max_length"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("dropout", "feed_forward_dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        require(self.norm_epsilon > 0, "norm_epsilon", self.norm_epsilon, "positive")
        require(self.initializer_range > 0, "initializer_range", self.initializer_range, ">0")
        self._resolve_defaults()
        require(self.num_kv_heads > 0, "num_kv_heads", self.num_kv_heads, "positive")
        require(self.feed_forward_dim > 0, "feed_forward_dim", self.feed_forward_dim, "positive")
        require(
            self.num_heads % self.num_kv_heads == 0,
            "num_kv_heads",
            self.num_kv_heads,
            f"a divisor of num_heads={self.num_heads}",
        )
        if self.positions.kind == "rotary":
            head_dim = self.attention.head_dim
            require(head_dim % 2 == 0, "attention.head_dim", head_dim, "even with rotary positions")

    def _resolve_defaults(self) -> None:
        """Fills in what was left open, so that code reads one name and never a fallback."""
        if self.attention.head_dim is None:
            require(
                self.hidden_dim % self.num_heads == 0,
                "hidden_dim",
                self.hidden_dim,
                f"a multiple of num_heads={self.num_heads} where attention.head_dim is not given",
            )
        attention: dict[str, Any] = {
            "head_dim": self.hidden_dim // self.num_heads,
            "bias": self.use_bias,
            "output_bias": self.use_bias,
            "dropout": self.dropout,
        }
        attention |= {k: v for k, v in self.attention.get_config().items() if v is not None}
        object.__setattr__(self, "attention", AttentionConfig(**attention))
        if self.num_kv_heads is None:
            object.__setattr__(self, "num_kv_heads", self.num_heads)
        if self.feed_forward_dim is None:
            object.__setattr__(self, "feed_forward_dim", 4 * self.hidden_dim)
