"""SentencePiece models learned from text, through the library's own trainer."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Bytes of the longest piece of text that the trainer is given; it would leave longer ones out.
LONGEST = 4096
# What it would leave a whole line out for: NUL, and the character that it keeps for itself.
BREAKS = re.compile("[\n\0\u2585]")


def train_model(
    texts: Iterable[str], vocab_size: int, roles: Mapping[str, str], tokens: list[str], **spec: Any
) -> bytes:
    """The content of a model's file, learned from texts.

    Args:
        texts: what to learn from.
        vocab_size: ids in all.
        roles: what `unk_token` is, and perhaps `bos_token`, `eos_token` and `pad_token`.
        tokens: special tokens, which have the first ids.
        **spec: settings of the library's trainer.

    Raises:
        ValueError: there is no text, or `vocab_size` has no room for its characters.
    """
    import sentencepiece

    ids = {token: i for i, token in enumerate(tokens)}
    parts: dict[str, Any] = {}
    for part in ("unk", "bos", "eos", "pad"):
        token = roles.get(f"{part}_token")
        # Each token plays one part in the model; what else it is stands in the settings.
        parts[f"{part}_id"] = -1 if token is None else ids.pop(token, -1)
        if parts[f"{part}_id"] >= 0:
            parts[f"{part}_piece"] = token
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines(texts),
            model_writer=model,
            vocab_size=vocab_size,
            control_symbols=list(ids),
            max_sentence_length=LONGEST,
            hard_vocab_limit=False,
            minloglevel=2,
            **parts,
            **spec,
        )
    except RuntimeError as error:
        raise _explained(error, vocab_size) from error
    return model.getvalue()


def lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of texts, long ones cut, at white space where there is some.

    Example:

    >>> list(lines(["a b\\nc", "x" * 5000]))[:2]
    ['a b', 'c']
    """
    for text in texts:
        for line in BREAKS.split(text):
            data = line.encode()
            while len(data) > LONGEST:
                cut = data.rfind(b" ", 1, LONGEST)
                if cut < 0:
                    cut = LONGEST
                    while data[cut] & 0xC0 == 0x80:
                        cut -= 1
                yield data[:cut].decode()
                data = data[cut:]
            if data.strip():
                yield data.decode()


def _explained(error: RuntimeError, vocab_size: int) -> ValueError:
    """What the trainer's error means for who has called it."""
    needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error))
    if needed:
        return ValueError(
            f"vocab_size={vocab_size} must be at least {needed[1]}, for the special tokens, the "
            "bytes and the characters of the text; or lower character_coverage"
        )
    if "sentences_.empty()" in str(error) or "all_chars_count" in str(error):
        return ValueError("there is no text to learn from")
    return ValueError(f"SentencePiece could not be trained: {error}")
