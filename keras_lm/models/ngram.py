"""The n-gram model: counts, smoothed, looked up."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import keras
import numpy as np
from keras import ops

from keras_lm.config import Config, NGramConfig
from keras_lm.layers.trie import Trie
from keras_lm.models.base import LanguageModel, State
from keras_lm.storage import read_json, write_json

if TYPE_CHECKING:
    from keras_lm.data.ngrams import NGramTable

VOCABULARY = "vocabulary.json"


@keras.saving.register_keras_serializable("keras_lm")
class NGramLM(LanguageModel):
    """An n-gram language model: token ids [B, T] → float32 log-probabilities [B, T, V].

        p(w | the n - 1 tokens before)    from counts, smoothed

    It learns by counting, not by gradients: `fit` of a task reads its texts once. By default it is
    smoothed as Kneser and Ney's method was modified by Chen and Goodman (1998), interpolated, and
    its probabilities equal those of KenLM's `lmplz` (Heafield et al. 2013). `smoothing="mle"` is
    the bare quotient of counts: a token never seen after a context that was has probability 0,
    written 10⁻⁹⁹ as in ARPA files.

    Its "logits" are log-probabilities already; their softmax is themselves. Its state is where the
    last tokens stand in the trie.

    Args:
        config: an `NGramConfig`; or its fields by name, `NGramLM(order=3)`.
        tokenizer: the tokenizer whose ids are counted; a task brings its own.
        dtype: as in Keras; the tables are int32 and float32 whatever it is.

    Raises:
        ValueError: a field has a wrong type or value.

    Example:

    >>> import keras_lm as klm
    >>> tok = klm.tokenizers.ByteTokenizer.create()
    >>> lm = klm.tasks.CausalLM(NGramLM(order=3), tok)
    >>> history = lm.fit(["abcabcabc", "abcab"], verbose=0)
    >>> lm.generate("ab", max_new_tokens=4)
    'abcabc'
    """

    config_class: ClassVar[type[Config]] = NGramConfig
    learns_by_counting = True

    def __init__(
        self,
        config: NGramConfig | None = None,
        *,
        tokenizer: Any = None,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        **fields: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        if config is not None and fields:
            raise ValueError(f"give a config or its fields; got both, {', '.join(fields)}")
        self.config = NGramConfig.from_config(fields) if config is None else config
        self.vocabulary: tuple[str, ...] | None = None
        self.training_totals = (0.0, 0)
        self._tries: list[Trie] = []
        self.built = True
        if tokenizer is not None:
            self.adopt(tokenizer)
        if self.config.num_ngrams:
            self._make_trie()

    def _make_trie(self) -> None:
        self._tries.clear()
        longest_decides = self.config.smoothing == "add_k"
        self._tries.append(Trie(self.config.num_ngrams, longest_decides, name="trie"))

    @property
    def trie(self) -> Trie:
        """The tables, or a `ValueError` where no text has been counted."""
        if not self._tries:
            raise ValueError(
                "this n-gram model has seen no text; fit it (CausalLM(model, tokenizer).fit), or "
                "make it with NGramLM.from_text or NGramLM.from_arpa"
            )
        return self._tries[0]

    def adopt(self, tokenizer: Any) -> None:
        config, (begin, end) = self.config, tokenizer.document_ends
        if config.vocab_size is None:
            self.config = config.replace(
                vocab_size=tokenizer.vocab_size,
                begin_id=begin if config.begin_id is None else config.begin_id,
                end_id=end if config.end_id is None else config.end_id,
                unk_id=tokenizer.unk_id if config.unk_id is None else config.unk_id,
            )
        words = tuple(_spelled(tokenizer, i) for i in range(tokenizer.vocab_size))
        if self.vocabulary is None:
            self.vocabulary = words
        special = (self.config.begin_id, self.config.end_id, self.config.unk_id)
        for i, (ours, theirs) in enumerate(zip(self.vocabulary, words, strict=False)):
            if ours != theirs and i not in special:
                raise ValueError(
                    f"the tokenizer's token {i} is {theirs!r}, the model's is {ours!r}: it is "
                    "another vocabulary"
                )

    def estimate(
        self,
        pieces: Iterable[tuple[np.ndarray, np.ndarray]],
        memory_limit: int | None = None,
        progress: bool = True,
    ) -> None:
        """Counts texts and smooths the counts; what was counted before is forgotten.

        Args:
            pieces: stretches of one stream of documents, each a pair of token ids, int [n], and
                bool [n], True where a document begins.
            memory_limit: bytes that counting may take; more go to the disk. Default: a share of
                the machine's memory.
            progress: whether to show how far it is.
        """
        from keras_lm.data.ngrams import estimate

        config = self.config
        if config.vocab_size is None:
            raise ValueError("vocab_size is open; give NGramLM a tokenizer, or use it in a task")
        table = estimate(
            pieces,
            config.order,
            config.vocab_size,
            config.begin_id,
            config.end_id,
            smoothing=config.smoothing,
            k=config.k,
            unk_id=config.unk_id,
            vocabulary=self.vocabulary,
            memory_limit=memory_limit,
            progress=progress,
        )
        self._take(table)

    @classmethod
    def from_text(
        cls,
        path: str | os.PathLike[str],
        order: int = 5,
        smoothing: str = "kneser_ney",
        k: float = 1.0,
        memory_limit: int | None = None,
    ) -> Self:
        """Counts a text file as KenLM's `lmplz` does.

        A line is a sentence, words stand between white space, `<s>` and `</s>` are added. The
        vocabulary is `<unk>`, `<s>`, `</s>`, then the words as they come.

        Args:
            path: a text, UTF-8; `.gz` as well.
            order: n.
            smoothing: as in `NGramConfig`.
            k: as in `NGramConfig`.
            memory_limit: bytes that counting may take; more go to the disk.

        Raises:
            ValueError: the file is no text, or too short for the order; the message names file
                and line.

        Example:

        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "text")
        >>> _ = path.write_text("the cat sat\\nthe cat ran\\n")
        >>> model = NGramLM.from_text(path, order=2, smoothing="mle")
        >>> (10 ** model.log_prob(["the", "cat", "sat"])).tolist()
        [1.0, 1.0, 0.5, 1.0]
        """
        from keras_lm.data.ngrams import table_of_text

        table = table_of_text(path, order, smoothing=smoothing, k=k, memory_limit=memory_limit)
        return cls._of_table(table, k=k)

    @classmethod
    def from_arpa(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a model in the ARPA format, as KenLM, SRILM and others write it.

        Args:
            path: the file; `.gz` as well. The vocabulary is that of its unigrams.

        Raises:
            ValueError: the file is damaged; the message names file and line.
        """
        from keras_lm.data.ngrams import read_arpa

        return cls._of_table(read_arpa(Path(path)))

    def save_arpa(self, path: str | os.PathLike[str]) -> None:
        """Writes the model in the ARPA format, log10, replacing an older file as a whole.

        Raises:
            ValueError: a word holds white space, or the model is smoothed by `"add_k"`, which
                back-off weights cannot express.
        """
        from keras_lm.data.ngrams import write_arpa

        write_arpa(self._table(), Path(path))

    @classmethod
    def _of_table(cls, table: NGramTable, **fields: Any) -> Self:
        model = cls(order=table.order, smoothing=table.smoothing, **fields)
        model.vocabulary = table.vocabulary
        model._take(table)
        return model

    def _take(self, table: NGramTable) -> None:
        self.config = self.config.replace(
            vocab_size=table.vocab_size,
            begin_id=table.begin_id,
            end_id=table.end_id,
            unk_id=table.unk_id,
            num_ngrams=table.num_ngrams,
        )
        self._make_trie()
        trie = self.trie
        for variables, arrays in (
            (trie.log_probs, table.log_probs),
            (trie.backoffs, table.backoffs),
            (trie.first_child, table.first_child),
            (trie.tokens, table.tokens[1:]),
        ):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
        self.training_totals = (table.training_nats or 0.0, table.training_tokens or 0)

    def _table(self) -> NGramTable:
        from keras_lm.data.ngrams import NGramTable

        def arrays(variables: Sequence[Any]) -> tuple[np.ndarray, ...]:
            return tuple(ops.convert_to_numpy(variable) for variable in variables)

        trie, config = self.trie, self.config
        ids = np.arange(config.vocab_size, dtype="int32")
        return NGramTable(
            tokens=(ids, *arrays(trie.tokens)),
            log_probs=arrays(trie.log_probs),
            backoffs=arrays(trie.backoffs),
            first_child=arrays(trie.first_child),
            begin_id=config.begin_id,
            end_id=config.end_id,
            unk_id=config.unk_id,
            vocabulary=self.vocabulary,
            smoothing=config.smoothing,
            training_nats=None,
            training_tokens=None,
        )

    def log_prob(self, words: Sequence[str]) -> np.ndarray:
        """log10 of the probability of every word of a sentence and of its end.

        Args:
            words: n words, without `<s>` and `</s>`.

        Returns:
            float32 [n + 1].

        Raises:
            ValueError: the model has no vocabulary of words, or a word is unknown and there is no
                `<unk>`.
        """
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"words must be a list of strings; got {words!r}")
        if self.vocabulary is None:
            raise ValueError("this model knows ids only; make it with from_text or from_arpa")
        known = {word: i for i, word in enumerate(self.vocabulary)}
        ids = [known.get(word, self.config.unk_id) for word in words]
        if None in ids:
            word = words[ids.index(None)]
            raise ValueError(f"words holds {word!r}, which is unknown, and there is no <unk>")
        row = np.array([[self.config.begin_id, *ids, self.config.end_id]], "int32")
        nats = ops.convert_to_numpy(self.log_probs(row[:, :-1], row[:, 1:]))[0]
        return nats / np.float32(math.log(10))

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        """The nodes of the trie after each token: int32 [B, T, n - 1]."""
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        token_ids = ops.cast(inputs["token_ids"], "int32")
        real = ops.ones_like(token_ids, "bool")
        if inputs.get("padding_mask") is not None:
            real = ops.cast(inputs["padding_mask"], "bool")
        linked = ops.ones_like(real)
        if inputs.get("segment_ids") is not None:
            segment = inputs["segment_ids"]
            linked = ops.equal(segment, ops.roll(segment, 1, axis=1))
        before = self.initial_state(ops.shape(token_ids)[0], None)["nodes"]
        return self.trie.follow(token_ids, before, linked, real)

    def logits(self, hidden: Any) -> Any:
        rows = ops.reshape(hidden, (-1, self.config.order - 1))
        shape = (*ops.shape(hidden)[:-1], self.config.vocab_size)
        return ops.reshape(self.trie.distribution(rows), shape)

    def hidden_log_probs(self, hidden: Any, targets: Any) -> Any:
        return self.trie.token_log_probs(hidden, ops.cast(targets, "int32"))

    def initial_state(self, batch_size: Any, max_length: Any) -> State:
        """No tokens yet: a dict of `nodes`, int32 [B, n - 1], all -1."""
        return {"nodes": ops.full((batch_size, self.config.order - 1), -1, "int32")}

    def step(
        self, token_ids: Any, state: State, lengths: Any = None, last_only: bool = False
    ) -> tuple[Any, State]:
        token_ids = ops.cast(token_ids, "int32")
        everywhere = ops.ones_like(token_ids, "bool")
        nodes = self.trie.follow(token_ids, state["nodes"], everywhere, everywhere)
        if lengths is None:
            last = nodes[:, -1:]
        else:
            index = ops.maximum(ops.cast(lengths, "int32") - 1, 0)[:, None, None]
            last = ops.take_along_axis(nodes, index, axis=1)
        return self.logits(last if last_only else nodes), {"nodes": last[:, 0]}

    def save_assets(self, directory: str) -> None:
        """Part of Keras's saving: the words of the vocabulary."""
        if self.vocabulary is not None:
            write_json(Path(directory, VOCABULARY), {"words": self.vocabulary})

    def load_assets(self, directory: str) -> None:
        """Part of Keras's loading."""
        if (path := Path(directory, VOCABULARY)).is_file():
            self.vocabulary = tuple(read_json(path)["words"])


def _spelled(tokenizer: Any, token_id: int) -> str:
    try:
        return str(tokenizer.id_to_token(token_id))
    except ValueError:  # an id that no token has
        return f"<unused_{token_id}>"
