"""SentencePiece models as files hold them: read, checked, and rebuilt for the ops of the graph.

tensorflow-text has two ops. `SentencepieceTokenizer` is SentencePiece 0.1.96: its normalizer and
its merges are today's, its search for the best pieces is not (it breaks ties in another way and
scores user-defined symbols otherwise). `FastSentencepieceTokenizer` has a search of its own, which
is today's to the last bit once it is given the right pieces, but knows few normalizations. So the
first is given models that do nothing but normalize, and the second models that do nothing but
search. See `encoding` for how they are put together.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

# `sentencepiece.sentencepiece_model_pb2.ModelProto`; the library is imported where it is needed.
ModelProto: TypeAlias = Any

SPACE_MARK = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
SPECIAL = (CONTROL, UNKNOWN)
UNIGRAM, BPE, WORD, CHAR = range(1, 5)

# A normalizer's rules when there are none; without any the op says so on the terminal.
NO_RULES = struct.pack("<I", 1024) + bytes(1025)

# In the pieces for the search NUL, where a trie's strings end, is spelled as this byte.
NUL_SPELLED = 0xFF


def read_model(definition: bytes) -> ModelProto:
    """The content of a `*.model` file.

    Raises:
        ValueError: it is damaged, or has a rule that the graph cannot follow exactly.
    """
    import sentencepiece
    from google.protobuf.message import DecodeError

    try:
        model = _new_model()
        model.ParseFromString(definition)
        # The library alone knows what else must hold, from the byte pieces to the tables.
        sentencepiece.SentencePieceProcessor().LoadFromSerializedProto(definition)
    except (DecodeError, RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(f"the SentencePiece model is damaged: {error}") from error
    _refuse_what_the_graph_cannot_do(model)
    return model


def _new_model() -> ModelProto:
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]


def _refuse_what_the_graph_cannot_do(model: ModelProto) -> None:
    kind, spec = model.trainer_spec.model_type, model.normalizer_spec
    _refuse_what_is_not_utf8(model)
    scores = np.array([piece.score for piece in model.pieces])
    if not np.isfinite(scores).all():
        raise ValueError("the SentencePiece model has a score that is no number")
    if sum(piece.type == UNKNOWN for piece in model.pieces) != 1:
        raise ValueError("a SentencePiece model without one unknown piece is not supported")
    if kind == UNIGRAM:
        normal = [piece.score for piece in model.pieces if piece.type == NORMAL]
        if not normal or not -1e6 < min(normal) <= 0:
            raise ValueError("scores of a unigram model must be in (-1e6, 0]")
        if not spec.escape_whitespaces or model.trainer_spec.treat_whitespace_as_suffix:
            raise ValueError(
                "escape_whitespaces = false and treat_whitespace_as_suffix = true of a unigram "
                "model are not supported"
            )
    if model.denormalizer_spec.precompiled_charsmap:
        raise ValueError("the denormalizer of a SentencePiece model is not supported")
    for piece in model.pieces:
        if kind != UNIGRAM and piece.type == CONTROL and len(piece.piece) == 1:
            raise ValueError(f"control symbol {piece.piece!r} of one character is not supported")


def _refuse_what_is_not_utf8(model: ModelProto) -> None:
    table = model.normalizer_spec.precompiled_charsmap
    rules = table[4 + int.from_bytes(table[:4], "little") :]
    strings = [model.trainer_spec.unk_surface, rules, *(piece.piece for piece in model.pieces)]
    for string in strings:
        try:
            # Python's messages give what is not UTF-8 as bytes.
            string.decode() if isinstance(string, bytes) else string.encode()
        except UnicodeError as error:
            raise ValueError(f"the SentencePiece model is damaged: {error}") from error


def piece_texts(model: ModelProto) -> list[bytes]:
    """The bytes that each id stands for; empty for control symbols."""
    texts = []
    for piece in model.pieces:
        if piece.type == CONTROL:
            texts.append(b"")
        elif piece.type == UNKNOWN:
            texts.append(unknown_surface(model).encode())
        elif piece.type == BYTE:
            texts.append(bytes([_byte(piece.piece)]))
        else:
            texts.append(piece.piece.replace(SPACE_MARK, " ").encode())
    return texts


def unknown_surface(model: ModelProto) -> str:
    """What the unknown piece decodes to, by default two question marks in one between spaces."""
    return model.trainer_spec.unk_surface


def byte_ids(model: ModelProto) -> dict[int, int]:
    """Byte to id, where the model falls back to bytes."""
    return {_byte(p.piece): i for i, p in enumerate(model.pieces) if p.type == BYTE}


def _byte(piece: str) -> int:
    return int(piece[3:5], 16)  # "<0x0A>"


def unknown_id(model: ModelProto) -> int:
    """The id of the unknown piece."""
    return next(i for i, piece in enumerate(model.pieces) if piece.type == UNKNOWN)


def can_be_cut(model: ModelProto) -> bool:
    """Whether a text may be encoded in words, cut where no piece is."""
    return (
        model.trainer_spec.model_type == BPE
        and model.normalizer_spec.escape_whitespaces
        and not model.trainer_spec.treat_whitespace_as_suffix
    )


def texts_found(model: ModelProto) -> list[str]:
    """The pieces that texts are merged into, or that are found in them."""
    return [piece.piece for piece in model.pieces if piece.type in (NORMAL, USER_DEFINED, UNUSED)]


def merging_model(model: ModelProto, normalizes: bool = True) -> bytes:
    """The model itself, without the samples of texts that it may carry to be tested with.

    Args:
        model: the content of a model's file.
        normalizes: whether it is given raw texts, or those that are normalized.
    """
    model = model if normalizes else without_normalization(model)
    same = _without_pieces(model, (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE))
    return same.SerializeToString()


def normalizing_model(model: ModelProto) -> bytes:
    """A model whose one piece for a text is the normalized text, in which spaces are spaces."""
    only = _without_pieces(model, (UNKNOWN, USER_DEFINED))
    only.trainer_spec.model_type = WORD  # Words end at the mark of a space: there is one word.
    only.normalizer_spec.escape_whitespaces = False
    return only.SerializeToString()


def aligning_model(model: ModelProto) -> bytes:
    """A model that gives the normalized text in symbols and bytes, with their places.

    Its ids are those of the user-defined symbols, in their order, and then of the 256 bytes.
    """
    only = _without_pieces(model, (USER_DEFINED,))
    only.trainer_spec.model_type = CHAR
    only.trainer_spec.byte_fallback = True
    # Else a symbol of marks would be found in spaces as well, which are not that symbol.
    only.normalizer_spec.escape_whitespaces = False
    for byte in range(256):
        only.pieces.add(piece=f"<0x{byte:02X}>", type=BYTE)
    only.pieces.add(piece="<unk>", type=UNKNOWN)
    return only.SerializeToString()


def spelling_model(model: ModelProto, added: Mapping[int, str]) -> bytes:
    """A model that decodes like this one, added tokens included, and takes no space away."""
    same = _without_pieces(model, (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE))
    same.normalizer_spec.add_dummy_prefix = False
    same.normalizer_spec.remove_extra_whitespaces = False
    for i in range(len(model.pieces), max(added, default=-1) + 1):
        if i in added:
            same.pieces.add(piece=added[i], type=USER_DEFINED)
        else:
            same.pieces.add(piece=f"<no token {i}>", type=CONTROL)
    same.trainer_spec.model_type = CHAR
    return same.SerializeToString()


def without_normalization(model: ModelProto) -> ModelProto:
    """The same model for texts that are normalized."""
    same = without_dummy_prefix(model)
    same.normalizer_spec.precompiled_charsmap = NO_RULES
    same.normalizer_spec.remove_extra_whitespaces = False
    return same


def without_dummy_prefix(model: ModelProto) -> ModelProto:
    """The same model for a text that goes on."""
    same = _new_model()
    same.CopyFrom(model)
    same.normalizer_spec.add_dummy_prefix = False
    return same


def _without_pieces(model: ModelProto, kept: tuple[int, ...]) -> ModelProto:
    copy = _new_model()
    copy.trainer_spec.CopyFrom(model.trainer_spec)
    copy.normalizer_spec.CopyFrom(model.normalizer_spec)
    copy.normalizer_spec.precompiled_charsmap = (
        model.normalizer_spec.precompiled_charsmap or NO_RULES
    )
    copy.pieces.extend(piece for piece in model.pieces if piece.type in kept)
    if BYTE not in kept:
        copy.trainer_spec.byte_fallback = False
    return copy


def unknown_bytes(model: ModelProto) -> list[int]:
    """The bytes that stand for unknown characters in the search; their ids follow the model's."""
    known = {_in_search(piece.piece).encode() for piece in model.pieces if _is_found(piece)}
    return [byte for byte in range(1, 256) if bytes([byte]) not in known]


def searching_model(model: ModelProto, normalizes: bool) -> bytes:
    """A model whose best pieces are the unigram model's, found by the faster op.

    An unknown character costs the same as in the library, but is spelled as its bytes: its first
    one costs all, the others nothing.

    Args:
        model: a unigram model.
        normalizes: whether the op is given raw texts, or those that are normalized.
    """
    search = _new_model()
    lowest = np.float32(np.inf)
    for piece in model.pieces:
        # Whoever is not found keeps its id, and nothing else.
        copy = search.pieces.add(piece=_in_search(piece.piece), type=CONTROL)
        if _is_found(piece):
            copy.type, copy.score = NORMAL, piece.score
        if piece.type == USER_DEFINED:
            copy.score = np.float32(0.1 * (len(piece.piece.encode()) - 1))
        elif piece.type == NORMAL:
            lowest = min(lowest, np.float32(piece.score))
    spec = search.normalizer_spec
    spec.escape_whitespaces = spec.add_dummy_prefix = spec.remove_extra_whitespaces = False
    if normalizes:
        spec.precompiled_charsmap = model.normalizer_spec.precompiled_charsmap
        spec.add_dummy_prefix = model.normalizer_spec.add_dummy_prefix
        spec.remove_extra_whitespaces = model.normalizer_spec.remove_extra_whitespaces
    search.trainer_spec.unk_id = -1  # The op's own unknown characters are each byte for itself.
    unknown = float(lowest - np.float32(10))
    rest = [(bytes([b]), 0.0 if 0x80 <= b < 0xC0 else unknown) for b in unknown_bytes(model)]
    # No message of Python's holds a string that is not UTF-8, so these are written by hand.
    return search.SerializeToString() + b"".join(_spelled(text, score) for text, score in rest)


def _in_search(text: str) -> str:
    return text.replace(SPACE_MARK, " ")


def _is_found(piece: Any) -> bool:
    return piece.type in (NORMAL, USER_DEFINED) and " " not in piece.piece


def _spelled(text: bytes, score: float) -> bytes:
    """A normal piece as the bytes of a field of `ModelProto`; the text is shorter than 100."""
    content = bytes([0x0A, len(text)]) + text + b"\x15" + struct.pack("<f", score) + b"\x18\x01"
    return bytes([0x0A, len(content)]) + content


def normalizes_alike(model: ModelProto) -> bool:
    """Whether the faster op normalizes as the library does, but for the characters below.

    It knows no user-defined symbols, keeps spaces at the start where there is no dummy prefix, and
    takes spaces away that a rule puts side by side.
    """
    spec = model.normalizer_spec
    table = spec.precompiled_charsmap
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return (
        all(piece.type != USER_DEFINED for piece in model.pieces)
        and (spec.add_dummy_prefix or not spec.remove_extra_whitespaces)
        and not any(run in texts for run in (b"  ", b"\t", b"\n", b"\r"))
        and _unit(table, ord(" ")) is None
    )


def characters_normalized_otherwise(model: ModelProto) -> str:
    """Those on which the faster op differs; it takes tabs and line ends for spaces always."""
    table = model.normalizer_spec.precompiled_charsmap
    others = [c for c in "\t\n\r" if _replacement(table, ord(c)) != b" "]
    return "".join(["\0", SPACE_MARK, *others])


def _unit(table: bytes, byte: int) -> tuple[int, int] | None:
    """Where a byte leads to from the root of a normalizer's rules, and that unit.

    The rules stand in the model as 32-bit units (a double-array trie: a unit has the byte that
    leads to it, where its children are, and whether one of them is a value) after their size, and
    before the texts that the values point to.
    """
    units = np.frombuffer(table[4 : 4 + int.from_bytes(table[:4], "little")], "<u4")
    if not units.size:
        return None
    place = _children(units[0]) ^ byte
    if place >= units.size or units[place] & 0x800000FF != byte:
        return None
    return place, int(units[place])


def _replacement(table: bytes, byte: int) -> bytes | None:
    """What the rules put in the place of a byte alone."""
    found = _unit(table, byte)
    if found is None or not found[1] & 0x100:
        return None
    size = int.from_bytes(table[:4], "little")
    units, texts = np.frombuffer(table[4 : 4 + size], "<u4"), table[4 + size :]
    start = int(units[found[0] ^ _children(found[1])]) & 0x7FFFFFFF
    return texts[start : texts.index(b"\0", start)]


def _children(unit: int) -> int:
    return (int(unit) >> 10) << ((int(unit) & 0x200) >> 6)
