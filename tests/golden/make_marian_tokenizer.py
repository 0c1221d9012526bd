"""Records a small Marian tokenizer and what Transformers' class makes of texts with it.

    pip install transformers==5.23.0 sentencepiece
    python tests/golden/make_marian_tokenizer.py

`marian_tokenizer.json` holds:

- `source`, `target`: the pieces of two SentencePiece unigram models, [piece, score, type] each.
  Their normalization is that of any model trained with `nmt_nfkc`, too large to be recorded.
- `vocab`: piece to id. Not all pieces are in it, and it has some that only one model knows.
- `texts`, and their ids as sources and as targets, without EOS: `source_ids`, `target_ids`.
- `rows` of ids, and what they decode to: `decoded`, and without special tokens `decoded_plain`.
"""

import io
import json
import random
import tempfile
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from transformers import MarianTokenizer

HERE = Path(__file__).parent
SENTENCES = {
    "source": [
        "The old man rides his bike across the wide street.",
        "A young woman reads a very good book in the park.",
        "Two children play football behind the red house.",
        "Why do they not ask the teacher for advice?",
        "I am a small frog, and you are another one.",
    ],
    "target": [
        "Der alte Mann fährt mit dem Fahrrad über die breite Straße.",
        "Eine junge Frau liest im Park ein sehr schönes Buch.",
        "Zwei Mädchen spielen Fußball hinter dem roten Haus.",
        "Warum fragen sie nicht den Lehrer um Rat?",
        "Ich bin ein kleiner Frosch, und du bist ein anderer.",
    ],
}
TEXTS = [
    "The old man reads.",
    ">>deu<< The old man reads.",
    " >>deu<< The old man",
    "",
    ">>deu<<",
    "Die Straße über ☃☃ and ☃ house",
    "Mädchen ＡＢＣ  play   here ",
    "a </s> b",
    "x<unk>y",
    ">>fra<< hi",
    ">><< hi",
    "▁ tab\tnew\nline",
    "ﬁne ½ ﬀ ☃é😀😀 ß",
    "<pad>",
    "play>>deu<<",
    "</s>>>deu<< x",
    "Quer über Köln: ÄÖÜ, ß!",
]


def trained(sentences: list[str]) -> bytes:
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 5),
        model_writer=content,
        vocab_size=90,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return content.getvalue()


def main() -> None:
    random.seed(0)
    record = {}
    with tempfile.TemporaryDirectory() as folder:
        for side, sentences in SENTENCES.items():
            content = trained(sentences)
            Path(folder, f"{side}.spm").write_bytes(content)
            pieces = sentencepiece_model_pb2.ModelProto.FromString(content).pieces
            record[side] = [[piece.piece, piece.score, piece.type] for piece in pieces]
        names = {name for side in SENTENCES for name, _, kind in record[side] if kind == 1}
        dropped = set(sorted(names)[::19])
        ordered = ["</s>", "<unk>", ">>deu<<", *sorted(names - dropped), "☃", "<pad>"]
        record["vocab"] = {name: i for i, name in enumerate(ordered)}
        Path(folder, "vocab.json").write_text(json.dumps(record["vocab"]))
        Path(folder, "tokenizer_config.json").write_text('{"tokenizer_class": "MarianTokenizer"}')
        tokenizer = MarianTokenizer.from_pretrained(folder)
    record["texts"] = TEXTS
    record["source_ids"] = [tokenizer(text)["input_ids"][:-1] for text in TEXTS]
    record["target_ids"] = [tokenizer(text_target=text)["input_ids"][:-1] for text in TEXTS]
    lengths = [random.randrange(10) for _ in range(60)]
    record["rows"] = [[random.randrange(len(tokenizer)) for _ in range(n)] for n in lengths]
    record["decoded"] = [tokenizer.decode(row) for row in record["rows"]]
    record["decoded_plain"] = [
        tokenizer.decode(row, skip_special_tokens=True) for row in record["rows"]
    ]
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    (HERE / "marian_tokenizer.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(text.encode()):,} bytes, {len(ordered)} tokens")


if __name__ == "__main__":
    main()
