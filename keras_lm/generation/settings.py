"""How to search, as a caller says it, and as the compiled programs want it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from keras_lm.generation.arguments import (
    check_id_list,
    check_ids,
    is_int,
    is_list,
    is_real,
    require,
)
from keras_lm.generation.programs import Kind, bucket

_EARLY_STOPPING = {False: 0, True: 1, "never": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Beams and constraints, with the names, meanings and defaults that Transformers gives them.

    Args:
        num_beams: M, the beams of a beam search; 1: none, but greedy choice or sampling.
        length_penalty: a hypothesis of n new tokens scores its log-probability / n^this.
        early_stopping: when a beam search of an item ends. True: once it has M hypotheses; False:
            once the best beam, at its present length, is no better than the worst of these;
            `"never"`: once no beam can become better.
        coverage_penalty: of what was not looked at in the source; for models with attention to
            one (https://arxiv.org/abs/1609.08144).
        num_beam_groups: groups of beams that avoid each other's tokens
            (https://arxiv.org/abs/1610.02424).
        diversity_penalty: what a token loses for each beam of the groups before that took it.
        repetition_penalty: above 1, tokens that were there before become less likely.
        no_repeat_ngram_size: no so many tokens stand in a text twice; 0: they may.
        bad_words_ids: token ids that must not stand one behind the other; a list of lists.
        suppress_tokens: token ids that are never chosen.
        min_new_tokens: a continuation does not end before.
        forced_bos_token_id: the first new token.
        forced_eos_token_id: the last new token, where nothing has ended it before.
        renormalize_logits: what the constraints have left of the probabilities is made to sum to
            1 again, and is what scores are of.
        return_scores: scores are wanted.

    Example:

    >>> SearchSettings(num_beams=4).kind, SearchSettings(min_new_tokens=2).kind
    ('beam', 'constrained')
    """

    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    coverage_penalty: float = 0.0
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: Sequence[Sequence[int]] = ()
    suppress_tokens: Sequence[int] = ()
    min_new_tokens: int = 0
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    renormalize_logits: bool = False
    return_scores: bool = False

    def check(
        self,
        vocab_size: int,
        max_new_tokens: int | None,
        temperature: float,
        num_return_sequences: int,
    ) -> None:
        """A `ValueError` that names what is out of its range, or does not go with the others.

        Args:
            vocab_size: V.
            max_new_tokens: as of the call; None: it is not known yet.
            temperature: as of the call.
            num_return_sequences: as of the call.
        """
        self._check_beams(temperature, num_return_sequences)
        penalty = self.repetition_penalty
        good = is_real(penalty, 0, 1e6) and penalty > 0
        require(good, "repetition_penalty", penalty, "a number above 0")
        size = self.no_repeat_ngram_size
        require(is_int(size, 0), "no_repeat_ngram_size", size, "an int, 0 or more")
        words = self.bad_words_ids
        good = is_list(words) and all(is_list(word) and len(word) for word in words)
        require(good, "bad_words_ids", words, "a list of lists of token ids, none of them empty")
        for row, word in enumerate(words):
            check_ids(f"bad_words_ids[{row}]", list(word), vocab_size)
        check_id_list("suppress_tokens", self.suppress_tokens, vocab_size)
        least, most = self.min_new_tokens, max_new_tokens
        wanted = "an int, 0 or more" if most is None else f"an int from 0 to {most}, max_new_tokens"
        good = is_int(least, 0) and (most is None or least <= most)
        require(good, "min_new_tokens", least, wanted)
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            if (forced := getattr(self, name)) is not None:
                check_ids(name, [forced], vocab_size)
        for name in ("renormalize_logits", "return_scores"):
            require(isinstance(getattr(self, name), bool), name, getattr(self, name), "a bool")

    def _check_beams(self, temperature: float, num_return_sequences: int) -> None:
        beams, groups = self.num_beams, self.num_beam_groups
        require(is_int(beams, 1), "num_beams", beams, "an int, 1 or more")
        if beams > 1 and temperature > 0:
            raise ValueError(
                f"temperature must be 0 with num_beams={beams}: a beam search does not sample; "
                f"got {temperature!r}"
            )
        if beams > 1 and num_return_sequences > beams:
            raise ValueError(
                f"num_return_sequences must be at most num_beams={beams}; "
                f"got {num_return_sequences!r}"
            )
        bounded = is_real(self.length_penalty, -1e3, 1e3)
        require(bounded, "length_penalty", self.length_penalty, "a number from -1000 to 1000")
        stopping = self.early_stopping
        known = isinstance(stopping, bool) or stopping == "never"
        require(known, "early_stopping", stopping, "True, False or 'never'")
        covers = is_real(self.coverage_penalty, 0, 1e6)
        require(covers, "coverage_penalty", self.coverage_penalty, "a number, 0 or more")
        if beams == 1 and self.coverage_penalty > 0:
            raise ValueError(
                "coverage_penalty must be 0 without a beam search (num_beams above 1); got "
                f"{self.coverage_penalty!r}"
            )
        divides = is_int(groups, 1) and beams % groups == 0
        require(divides, "num_beam_groups", groups, f"a divisor of num_beams={beams}")
        penalty = self.diversity_penalty
        require(is_real(penalty, 0, 1e6), "diversity_penalty", penalty, "a number, 0 or more")
        if (penalty > 0) != (groups > 1):
            raise ValueError(
                f"diversity_penalty must be above 0 where num_beam_groups is above 1, and 0 where "
                f"it is 1; got {penalty!r} with num_beam_groups={groups}"
            )

    @property
    def kind(self) -> Kind:
        """The cheapest of the programs that does it."""
        if self.num_beams > 1:
            return "beam"
        rules = (
            self.repetition_penalty != 1,
            self.no_repeat_ngram_size > 0,
            len(self.bad_words_ids) > 0,
            len(self.suppress_tokens) > 0,
            self.min_new_tokens > 0,
            self.forced_bos_token_id is not None,
            self.forced_eos_token_id is not None,
        )
        return "constrained" if any(rules) or self.return_scores else "decode"

    def arrays(self) -> dict[str, np.ndarray]:
        """The inputs of the programs that the settings decide, by name."""
        groups = self.num_beam_groups
        bos, eos = self.forced_bos_token_id, self.forced_eos_token_id
        return {
            "beams": np.zeros((groups, self.num_beams // groups), "int32"),
            "length_penalty": np.float32(self.length_penalty),
            "early_stopping": np.int32(_EARLY_STOPPING[self.early_stopping]),
            "coverage_penalty": np.float32(self.coverage_penalty),
            "diversity_penalty": np.float32(self.diversity_penalty),
            "repetition_penalty": np.float32(self.repetition_penalty),
            "no_repeat_ngram_size": np.int32(self.no_repeat_ngram_size),
            "bad_words_ids": _filled(self.bad_words_ids),
            "suppress_tokens": _filled([self.suppress_tokens])[0],
            "min_new_tokens": np.int32(self.min_new_tokens),
            "forced_bos_token_id": np.int32(-1 if bos is None else bos),
            "forced_eos_token_id": np.int32(-1 if eos is None else eos),
            "renormalize_logits": np.bool_(self.renormalize_logits),
        }


def _filled(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of ids, filled with −1 to a shape that calls with others of about the size share."""
    width = bucket(max((len(row) for row in rows), default=1) or 1)
    filled = np.full((bucket(max(len(rows), 1)), width), -1, "int32")
    for row, ids in enumerate(rows):
        filled[row, : len(ids)] = ids
    return filled
