"""Records what the reference libraries say of some texts, in `text_scores.json` beside this file.

Tests compare `keras_lm.metrics` with it, so that a new version of a library that counts otherwise
is seen. It is the same on every run:

    pip install sacrebleu==2.6.0 rouge-score==0.1.2
    python tests/golden/make_text_scores.py

A case is a data set: `references`, a list for each text, which differ in length here and there;
`hypotheses`; and the scores, by the arguments of the metric.
"""

import importlib.metadata
import json
from itertools import zip_longest
from pathlib import Path

import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

CASES = {
    "english": (
        [
            ["The cat sat on the mat.", "There was a cat on the mat."],
            ["It's 3.5 % more than in 2019, isn't it?"],
            ['He said: "No!"', "“No!”, he said.", "He said no."],
            ["The naïve café (in Paris) is closed."],
            ["Nothing was written."],
        ],
        [
            "The cat was sitting on the mat.",
            "it's 3.5% more than in 2019 , isn't it?",
            "He said: No!",
            "The naive cafe in Paris is closed",
            "",
        ],
    ),
    "one reference": (
        [["a quick brown fox jumped over the lazy dogs"], ["the the the cat"], ["end"]],
        ["the quick brown foxes jump over a lazy dog", "the cat the", "end of it all"],
    ),
    "no match": ([["one two three four five"]], ["six seven eight nine"]),
    "nothing": ([["one two"], ["three"]], ["", ""]),
    "chinese": (
        [
            ["今天天气很好，我们去公园吧。"],
            ["他在2019年买了一部iPhone手机。", "他2019年买了iPhone。"],
        ],
        ["今天天气好，我们去公园。", "他于2019年购买了iPhone手机"],
    ),
}
BLEUS = [
    {},
    {"lowercase": True},
    {"tokenize": "zh"},
    {"tokenize": "char"},
    {"tokenize": "intl"},
    {"tokenize": "none"},
    {"max_order": 2},
]
CHRFS = [{}, {"word_order": 2}, {"char_order": 4, "beta": 1}]


def bleu(references, hypotheses, tokenize="13a", lowercase=False, max_order=4):
    scorer = sacrebleu.BLEU(tokenize=tokenize, lowercase=lowercase, max_ngram_order=max_order)
    return scorer.corpus_score(hypotheses, list(zip_longest(*references))).score


def chrf(references, hypotheses, **arguments):
    scorer = sacrebleu.CHRF(**arguments)
    return scorer.corpus_score(hypotheses, list(zip_longest(*references))).score


def rouge(references, hypotheses, use_stemmer=False):
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(kinds, use_stemmer)
    scores = [
        scorer.score_multi(known, text) for known, text in zip(references, hypotheses, strict=True)
    ]
    return {kind: 100 * sum(s[kind].fmeasure for s in scores) / len(scores) for kind in kinds}


if __name__ == "__main__":
    goldens = {
        "made_with": {
            name: importlib.metadata.version(name) for name in ("sacrebleu", "rouge-score")
        },
        "cases": [
            {
                "name": name,
                "references": references,
                "hypotheses": texts,
                "bleu": [[given, bleu(references, texts, **given)] for given in BLEUS],
                "chrf": [[given, chrf(references, texts, **given)] for given in CHRFS],
                "rouge": [
                    [given, rouge(references, texts, **given)]
                    for given in ({}, {"use_stemmer": True})
                ],
            }
            for name, (references, texts) in CASES.items()
        ],
    }
    text = json.dumps(goldens, ensure_ascii=False, separators=(",", ":"))
    Path(__file__).with_name("text_scores.json").write_text(text + "\n", encoding="utf-8")
