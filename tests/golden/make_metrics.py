"""Records what the reference libraries say of some cases, in `metrics.json` next to this file.

Tests compare `keras_lm.metrics` with it, so that they need none of them. It is the same on every
run:

    pip install scikit-learn==1.9.1 scipy==1.17.1 seqeval==1.2.2 torchmetrics==1.9.0 torch==2.13.0
    python tests/golden/make_metrics.py

- `single_label`, `multi_label`: `f1_score` and `matthews_corrcoef` of scikit-learn; in some cases
  a class never occurs.
- `entities`: `f1_score` and `classification_report` of seqeval in its default mode, on tags that
  break their scheme here and there.
- `correlations`: `pearsonr` and `spearmanr` of SciPy, with and without ties.
- `answers`: SQuAD's exact match and F1 in percent, by torchmetrics.
"""

import importlib.metadata
import json
import warnings
from pathlib import Path

import numpy as np
import scipy.stats
import seqeval.metrics
import sklearn
import sklearn.metrics
import torchmetrics
import torchmetrics.functional.text

AVERAGES = ("macro", "micro", "weighted")
TAGS = {
    "bio": ["O", "B-x", "I-x", "B-y", "I-y"],
    "bioes": ["O", "B-x", "I-x", "E-x", "S-x", "B-y-z", "E-y-z"],
}
ANSWERS = [
    ["The red house.", ["a red house", "house"]],
    ["red, blue and red", ["blue red red"]],
    ["In 1969", ["1969", "July 1969"]],
    ["nothing", ["something else"]],
    ["Saint-Étienne", ["Saint Étienne", "saint-étienne!"]],
    ["the the an", ["cat"]],
    ["$5.5  million", ["5.5 million dollars"]],
    ["theory of an atom", ["theory of atom", "Theory"]],
]


def single_label(random):
    for size, classes, weighted in [(40, 4, False), (40, 4, True), (30, 2, False), (12, 7, True)]:
        logits = np.round(random.normal(size=[size, classes]), 2)
        labels = np.where(
            random.random(size) < 0.6, logits.argmax(-1), random.integers(0, classes - 1, size)
        )
        weights = np.round(random.random(size) + 0.1, 2) if weighted else np.ones(size)
        predicted = logits.argmax(-1)
        averages = (*AVERAGES, "binary") if classes == 2 else AVERAGES
        arguments = {"y_true": labels, "y_pred": predicted, "sample_weight": weights}
        yield {
            "logits": logits.tolist(),
            "labels": labels.tolist(),
            "weights": weights.tolist(),
            "f1": {a: sklearn.metrics.f1_score(average=a, **arguments) for a in averages},
            "matthews": sklearn.metrics.matthews_corrcoef(**arguments),
        }


def multi_label(random):
    logits = np.round(random.normal(size=[25, 5]), 2)
    logits[:, 4] = -1.0  # never predicted, never true
    labels = (logits + random.normal(size=[25, 5]) > 0).astype(int)
    labels[:, 4] = 0
    return {
        "logits": logits.tolist(),
        "labels": labels.tolist(),
        "f1": {a: sklearn.metrics.f1_score(labels, logits > 0, average=a) for a in AVERAGES},
    }


def entities(random):
    for names in TAGS.values():
        true = [[names[i] for i in random.integers(0, len(names), n)] for n in (1, 7, 30, 12)]
        found = [
            [tag if random.random() < 0.7 else names[random.integers(len(names))] for tag in row]
            for row in true
        ]
        report = seqeval.metrics.classification_report(
            true, found, output_dict=True, zero_division=0
        )
        yield {
            "label_names": names,
            "true": true,
            "found": found,
            "f1": seqeval.metrics.f1_score(true, found),
            "report": {
                kind: {name.replace("f1-score", "f1"): float(value) for name, value in row.items()}
                for kind, row in report.items()
            },
        }


def correlations(random):
    for size, ties in [(5, False), (60, False), (60, True)]:
        true = np.round(random.random(size) * 5, 0 if ties else 2)
        found = np.round(true + random.normal(size=size), 0 if ties else 3)
        yield {
            "true": true.tolist(),
            "found": found.tolist(),
            "pearson": scipy.stats.pearsonr(true, found).statistic,
            "spearman": scipy.stats.spearmanr(true, found).statistic,
        }


def answers():
    for answer, references in ANSWERS:
        found = [{"prediction_text": answer, "id": "0"}]
        known = [{"answers": {"text": references, "answer_start": [0]}, "id": "0"}]
        scores = torchmetrics.functional.text.squad(found, known)
        yield {
            "answer": answer,
            "references": references,
            "exact_match": float(scores["exact_match"]),
            "f1": float(scores["f1"]),
        }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    random = np.random.default_rng(0)
    goldens = {
        "made_with": {
            "scikit-learn": sklearn.__version__,
            "scipy": scipy.__version__,
            "seqeval": importlib.metadata.version("seqeval"),
            "torchmetrics": torchmetrics.__version__,
        },
        "single_label": list(single_label(random)),
        "multi_label": multi_label(random),
        "entities": list(entities(random)),
        "correlations": list(correlations(random)),
        "answers": list(answers()),
    }
    text = json.dumps(goldens, ensure_ascii=False, separators=(",", ":"))
    Path(__file__).with_name("metrics.json").write_text(text + "\n", encoding="utf-8")
