"""Records what the official scorer of SemEval-2010 task 8 says, in `relation_f1.json` beside this.

Tests compare `keras_lm.metrics.RelationF1` with it, so that they need neither Perl nor the scorer,
`semeval2010_task8_scorer-v1.2.pl`, which comes with the task's data. It is the same on every run:

    python tests/golden/make_relation_f1.py PATH_OF_THE_SCORER

In the second case two relations are never true, but predicted; in the third one is never
predicted, and one only ever in the wrong direction.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

RELATIONS = [
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
]
LABELS = ["Other", *(f"{name}({way})" for name in RELATIONS for way in ("e1,e2", "e2,e1"))]


def official(scorer, true, predicted):
    """The macro-averaged F1 in percent, (9+1)-way with directions."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("proposed.txt", "key.txt")]
        for file, ids in zip(files, (predicted, true)):
            rows = [f"{number}\t{LABELS[label]}\n" for number, label in enumerate(ids)]
            file.write_text("".join(rows))
        said = subprocess.run(
            ["perl", scorer, *files], capture_output=True, text=True, check=True
        ).stdout
    return float(re.search(r"The official score is .* macro-averaged F1 = ([0-9.]+)%", said)[1])


def cases(scorer):
    for seed, size in enumerate((400, 90, 120)):
        random = np.random.default_rng(seed)
        true = random.integers(0, len(LABELS), size)
        predicted = np.where(random.random(size) < 0.6, true, random.integers(0, len(LABELS), size))
        if seed == 1:
            true[(true == 3) | (true == 4) | (true >= 17)] = 0
        if seed == 2:
            predicted[(predicted == 5) | (predicted == 6)] = 0
            true[true == 8] = 7
            predicted[true == 7] = 8
        yield {
            "true": true.tolist(),
            "predicted": predicted.tolist(),
            "percent": official(scorer, true, predicted),
        }


recorded = {"labels": LABELS, "cases": list(cases(sys.argv[1]))}
path = Path(__file__).with_name("relation_f1.json")
path.write_text(json.dumps(recorded) + "\n")
