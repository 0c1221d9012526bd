"""Questions answered by a span of a context, which is read in overlapping windows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_lm.data.examples.sequences import Sequences, offsets_of, windows
from keras_lm.data.examples.store import ExampleStore
from keras_lm.data.examples.tokenizing import (
    between_cls_and_sep,
    check_count,
    check_string,
    check_strings,
    cls_and_sep,
    tokenize,
)

if TYPE_CHECKING:
    from keras_lm.tokenizers.base import Tokenizer

# The text of an answer and the character of the context at which it begins; None: no answer.
# Or what `datasets` and our SQuAD source give: {"text": [strings], "answer_start": [ints]}.
Answer = tuple[str, int] | Mapping[str, Sequence[Any]] | None


def answer_spans(
    questions: Iterable[str],
    contexts: Iterable[str],
    answers: Iterable[Answer],
    tokenizer: Tokenizer,
    max_length: int = 384,
    doc_stride: int = 128,
    max_question_length: int = 64,
    progress: bool = False,
) -> ExampleStore:
    """Examples [CLS] question [SEP] window of the context [SEP] with the answer's tokens.

        context          |----------------------------------|
        windows          |---------------|
                             |---------------|      begin `doc_stride` tokens apart
                                 |---------------|…

    A window that does not hold the whole answer points to CLS, as does every window of a question
    without one. The answer's tokens are those that share a character with it.

    Args:
        questions: strings; cut after `max_question_length` tokens, with a warning.
        contexts: the text that answers each question. Repeated ones are tokenized once.
        answers: `(text, start)` of each question, where the answer begins in characters of the
            context; None or an empty text where the context does not say. Or, for each, a dict of
            the lists `text` and `answer_start`, of which the first answer is taken.
        tokenizer: any tokenizer that gives offsets.
        max_length: the most tokens of an example.
        doc_stride: how many tokens after the window before it a window begins, as in BERT
            (Transformers' `stride` is the overlap instead). Where a long question leaves less
            room than that, windows follow each other without a gap.
        max_question_length: the most tokens of a question.
        progress: whether a bar with the time left appears once it has taken two seconds.

    Returns:
        A store with the inputs `token_ids` and `token_types` (1 in the context) and the targets
        `start` and `end`, int32, the answer's first and last token. The columns `byte_spans` and
        `character_spans` say where a token stands in its context (-1: not in it), half-open; the
        value `question` which question an example belongs to.

    Raises:
        ValueError: the lists differ in their number, an item is of a wrong type, an answer does
            not stand where it says, or the lengths leave no room; the message says where.

    Example:

    >>> from keras_lm.tokenizers.byte import ByteTokenizer
    >>> tok = ByteTokenizer.create()
    >>> store = answer_spans(["q"], ["abcdef"], [("cd", 2)], tok, max_length=8, doc_stride=2,
    ...                      max_question_length=1)
    >>> len(store), store.values["start"].tolist(), store.values["end"].tolist()
    (2, [5, 3], [6, 4])
    """
    asked = check_strings(questions, "questions")
    read = check_strings(contexts, "contexts")
    given = list(answers)
    for name, listed in (("contexts", read), ("answers", given)):
        if len(listed) != len(asked):
            raise ValueError(f"{name} has {len(listed)} items; questions has {len(asked)}")
    spans = _answer_characters(given, read)
    check_count(doc_stride, "doc_stride", least=1)
    check_count(max_question_length, "max_question_length", least=1)
    specials = 2 + tokenizer.separators_between_texts
    check_count(max_length, "max_length", least=max_question_length + specials + 1)
    ends = cls_and_sep(tokenizer)

    question = tokenize(asked, tokenizer, progress=progress)
    number_of = {text: number for number, text in enumerate(dict.fromkeys(read))}
    context = tokenize(list(number_of), tokenizer, spans=True, progress=progress)
    which = np.array([number_of[text] for text in read])
    first, last = _answer_tokens(context, which, spans, list(number_of))

    question_lengths = np.minimum(question.lengths, max_question_length)
    if num_cut := np.count_nonzero(question.lengths > max_question_length):
        warnings.warn(
            f"{num_cut} of {len(asked)} questions have more than "
            f"max_question_length={max_question_length} tokens, and are cut at their end",
            stacklevel=2,
        )
    room = max_length - specials - question_lengths
    row, start, count = windows(context.lengths[which], room, np.minimum(doc_stride, room))
    sequences = between_cls_and_sep(
        ends,
        question.cut(row, np.zeros_like(row), question_lengths[row]),
        context.cut(which[row], start, count),
        separators=tokenizer.separators_between_texts,
    )
    inside = (first[row] >= start) & (last[row] < start + count)
    # What leads from a context's token to the window's.
    begin = question_lengths[row] + specials - 1 - start
    return ExampleStore(
        sequences=(sequences,),
        values={
            "start": np.where(inside, first[row] + begin, 0).astype(np.int32),
            "end": np.where(inside, last[row] + begin, 0).astype(np.int32),
            "question": row,
        },
        inputs=("token_ids", "token_types"),
        targets=("start", "end"),
    )


def _answer_characters(answers: Sequence[Answer], contexts: Sequence[str]) -> np.ndarray:
    """int64 [questions, 2], where each answer stands in its context; (-1, -1) for none."""
    spans = np.full([len(answers), 2], -1)
    for number, (answer, context) in enumerate(zip(answers, contexts, strict=True)):
        if isinstance(answer, Mapping):
            answer = _first_answer(answer, f"answers[{number}]")
        if answer is None:
            continue
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise ValueError(f"answers[{number}] is {answer!r}; it must be (text, start) or None")
        text, start = answer
        check_string(text, f"answers[{number}][0]")
        if not text:
            continue
        check_count(start, f"answers[{number}][1]", least=0)
        if context[start : start + len(text)] != text:
            raise ValueError(
                f"answers[{number}] is {text!r} at character {start}; the context has "
                f"{context[start : start + len(text)]!r} there"
            )
        spans[number] = start, start + len(text)
    return spans


def _first_answer(answer: Mapping[str, Sequence[Any]], name: str) -> Answer:
    texts, starts = answer.get("text"), answer.get("answer_start")
    if texts is None or starts is None or len(texts) != len(starts):
        raise ValueError(
            f"{name} is {dict(answer)!r}; its text and answer_start must be lists of one length"
        )
    return (texts[0], starts[0]) if len(texts) else None


def _answer_tokens(
    context: Sequences, which: np.ndarray, spans: np.ndarray, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The first and last token of each context that shares a character with the answer.

    int64 [questions] each; -1 where there is no answer or the tokenizer drops it.
    """
    # Contexts are laid one after the other, with a gap, so that one search serves all of them.
    base = offsets_of(np.array([len(text) + 1 for text in texts]))[:-1]
    characters = context.columns["character_spans"] + np.repeat(base, context.lengths)[:, None]
    start, end = (base[which][:, np.newaxis] + spans).T
    first = np.searchsorted(characters[:, 1], start, side="right")
    last = np.searchsorted(characters[:, 0], end, side="left") - 1
    found = (spans[:, 0] >= 0) & (first <= last)
    begin = context.offsets[which]
    return np.where(found, first - begin, -1), np.where(found, last - begin, -1)
