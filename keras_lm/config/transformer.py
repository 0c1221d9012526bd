"""Hyper-parameters of Transformers."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from keras_lm.config.base import Config, derived, require
from keras_lm.config.positions import PositionConfig

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "swiglu", "geglu"]


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
        full_attention_every: every so many layers, counted from the first, one has no
            `sliding_window`, the last of them; default: all layers have it.
    """

    head_dim: int = derived()
    bias: bool = derived()
    output_bias: bool = derived()
    dropout: float = derived()
    scaled: bool = True
    query_key_norm: bool = False
    sliding_window: int | None = None
    full_attention_every: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("head_dim", "sliding_window", "full_attention_every"):
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
            `"post"` what leaves the residual sum, `"sandwich"` what enters a branch and what
            leaves it (and the last output), as in Gemma.
        residual: `"sequential"`: the feed-forward reads what attention has added to. `"parallel"`:
            both branches read the same and are added at once, as in GPT-NeoX;
            `"parallel_one_norm"`: and share one norm, as in Falcon. For `"pre"` norms.
        activation: of the feed-forward; `"swiglu"` and `"geglu"` are gated
            (https://arxiv.org/abs/2002.05202; the gelu of `"geglu"` is GPT-2's), `"gelu"` is
            exact, `"gelu_tanh"` GPT-2's.
        use_bias: biases in the linear layers.
        tie_embeddings: the output layer uses the token embeddings.
        scale_embeddings: token vectors are multiplied by √D, as in "Attention Is All You Need".
        position_offset: the row of a table of positions at which position 0 stands; 2 in OPT and
            BART. The table has `max_length + position_offset` rows.
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
    norm_position: Literal["pre", "post", "sandwich"] = "pre"
    residual: Literal["sequential", "parallel", "parallel_one_norm"] = "sequential"
    activation: Activation = "gelu_tanh"
    use_bias: bool = True
    tie_embeddings: bool = True
    scale_embeddings: bool = False
    position_offset: int = 0
    initializer_range: float = 0.02
    positions: PositionConfig = dataclasses.field(default_factory=PositionConfig)
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
        require(self.position_offset >= 0, "position_offset", self.position_offset, "0 or more")
        require(
            self.residual == "sequential" or self.norm_position == "pre",
            "residual",
            self.residual,
            f"'sequential' with norm_position={self.norm_position!r}",
        )
        self.positions.check_heads(self.attention.head_dim)

    def is_local(self, layer: int) -> bool:
        """Whether a layer, the first is 0, has the sliding window."""
        every = self.attention.full_attention_every
        has_window = self.attention.sliding_window is not None
        return has_window and (every is None or (layer + 1) % every != 0)

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
