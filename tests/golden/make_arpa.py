"""Makes two small texts and what KenLM's `lmplz` estimates from them, next to this file.

Tests compare `keras_lm.data.ngrams` with these files. Run it again only to change them:

    python tests/golden/make_arpa.py LMPLZ      # the program of KenLM 0.3.0, github.com/kpu/kenlm

- `ngrams.txt`: sentences of a little grammar, so many that Kneser–Ney's discounts of every order up
  to 3 can be estimated. The last word that appears for the first time stands there three times
  behind the same word, which `lmplz` counts in a way of its own.
- `ngrams_small.txt`: a few lines with all kinds of white space, from which it cannot estimate
  them; `--discount_fallback`.
- `ngrams_<order>.arpa`, `ngrams_small_<order>.arpa`: of these texts.
"""

import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MAX_BYTES = 60_000
NUM_SENTENCES = 120

SMALL = "a b\tc  a\r\n\n b a b c d \nété x\x0by 水 — été\na b c a b c d\n"


def sentences() -> str:
    draw = random.Random(4)
    syllables = ["ba", "do", "gu", "ki", "la", "me", "ni", "pu", "ro", "si", "te", "vo"]
    nouns = [first + second for first in syllables for second in ("bel", "dun", "ma")]
    verbs = ["bends", "lifts", "meets", "takes", "tells", "turns", "waits"]
    lines = []
    for _ in range(NUM_SENTENCES):
        # The first nouns are drawn much more often than the last.
        noun, other = (nouns[int(len(nouns) * draw.random() ** 3)] for _ in range(2))
        words = [draw.choice(["the", "the", "a"]), noun, draw.choice(verbs)]
        if draw.random() < 0.6:
            words += ["the", draw.choice(["old", "old", "small", "red"]), other]
        if draw.random() < 0.3:
            words += ["and", draw.choice(verbs)]
        lines.append(" ".join(words))
    lines += ["the heron turns", "the heron waits", "the heron"]
    return "\n".join(lines) + "\n"


def main() -> None:
    (HERE / "ngrams.txt").write_bytes(sentences().encode())
    (HERE / "ngrams_small.txt").write_bytes(SMALL.encode())
    for name, orders in {"ngrams": (1, 2, 3), "ngrams_small": (2, 5)}.items():
        for order in orders:
            flags = ["--discount_fallback"] if name == "ngrams_small" else []
            arpa = subprocess.run(
                [sys.argv[1], "-o", str(order), *flags],
                input=(HERE / f"{name}.txt").read_bytes(),
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
            assert len(arpa) <= MAX_BYTES
            (HERE / f"{name}_{order}.arpa").write_bytes(arpa)


if __name__ == "__main__":
    main()
