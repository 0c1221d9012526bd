"""Records what trec_eval says of rankings, and scores of BM25, in `ranking.json` next to it.

Tests compare `keras_lm.metrics` and `tasks.BM25Retriever` with them, so that they need neither
library. It is the same on every run:

    pip install pytrec_eval-terrier==0.5.11 bm25s==0.3.16 numpy
    python tests/golden/make_ranking.py

- `cases`: each is one query, that is grades by id (some 0 or below, which is not relevant; some of
  documents that are not found), a ranking, best first (some of what has no grade; one finds nothing
  that is relevant), and trec_eval's measures by the names that `pytrec_eval` gives them.
- `bm25`: documents and queries of words (one has a word twice), and for pairs of k1 and b the score
  of each document for each query, by the variant `"lucene"` of bm25s.
"""

import importlib.metadata
import json
from pathlib import Path

import bm25s
import numpy as np
import pytrec_eval

CUTS = (1, 3, 10)
MEASURES = {"map", "recip_rank", "ndcg"}
MEASURES |= {
    f"{name}.{cut}" for name in ("map_cut", "ndcg_cut", "recall", "success") for cut in CUTS
}


def cases(random):
    for documents, judged, found, most in [
        (30, 6, 20, 1),
        (30, 12, 25, 1),
        (30, 12, 25, 3),
        (12, 12, 5, 4),
        (8, 3, 8, 2),
        (40, 2, 15, 1),
        (25, 20, 2, 3),
    ]:
        names = [f"d{number}" for number in range(documents)]
        grades = {
            str(name): int(random.integers(-1, most + 1))
            for name in random.permutation(names)[:judged]
        }
        grades[names[0]] = most
        noise = dict(zip(names, random.normal(size=documents), strict=True))
        ranked = sorted(
            names, key=lambda name, noise=noise, grades=grades: noise[name] - grades.get(name, 0)
        )[:found]
        yield grades, ranked
    yield {"a": 1, "b": 2}, ["c", "d"]


def measures(grades, ranked):
    scores = {name: float(len(ranked) - rank) for rank, name in enumerate(ranked)}
    evaluator = pytrec_eval.RelevanceEvaluator({"q": grades}, MEASURES)
    found = evaluator.evaluate({"q": scores})["q"]
    return {name: round(value, 10) for name, value in sorted(found.items())}


def bm25(random):
    words = [f"w{number}" for number in range(30)]
    often = 1 / np.arange(1, 31)

    def texts(count, shortest, longest):
        sizes = random.integers(shortest, longest + 1, count)
        return [random.choice(words, size, p=often / often.sum()).tolist() for size in sizes]

    documents, queries = texts(20, 1, 40), [*texts(5, 1, 6), ["w7", "w7", "w3"]]
    settings = [(1.2, 0.75), (0.9, 0.4), (2.0, 1.0), (1.5, 0.0)]
    scores = []
    for k1, b in settings:
        model = bm25s.BM25(k1=k1, b=b, method="lucene", dtype="float64")
        model.index(documents, show_progress=False)
        scores.append([np.round(model.get_scores(query), 7).tolist() for query in queries])
    return {
        "documents": [" ".join(words) for words in documents],
        "queries": [" ".join(words) for words in queries],
        "settings": settings,
        "scores": scores,
    }


if __name__ == "__main__":
    goldens = {
        "made_with": {
            name: importlib.metadata.version(name) for name in ("pytrec_eval-terrier", "bm25s")
        },
        "cases": [
            {"grades": grades, "ranked": ranked, "measures": measures(grades, ranked)}
            for grades, ranked in cases(np.random.default_rng(0))
        ],
        "bm25": bm25(np.random.default_rng(1)),
    }
    text = json.dumps(goldens, separators=(",", ":"))
    Path(__file__).with_name("ranking.json").write_text(text + "\n", encoding="utf-8")
