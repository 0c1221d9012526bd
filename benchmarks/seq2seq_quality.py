"""Translation and summaries from scratch: how good encoder–decoders become on real text.

    python benchmarks/seq2seq_quality.py --data shared/data --set multi30k-de --work runs/de
    python benchmarks/seq2seq_quality.py --data shared/data --set multi30k-de --model lstm
    python benchmarks/seq2seq_quality.py --data shared/data --set tatoeba-en-zh
    python benchmarks/seq2seq_quality.py --data shared/data --set dialogsum

Trains a tokenizer of sources and targets together and a model of random weights on the training
split. The settings are common ones of the literature; whatever was chosen was chosen on the
validation split (`val` of multi30k; elsewhere a twentieth of train, without the pairs of which a
text stands in the rest), which training looks at too. The split that the figure is of
(`test_2016_flickr`, `dev`) is read once, at the end. With `--work` a run that was stopped goes on
exactly where it was; minutes are those of the last piece.

Prints one JSON line: the scores of the search with beams and of greedy choice, parameters, epochs,
minutes of training and of writing by the clock, minutes of a processor that this process took in
all (a machine may be shared), samples, and what it ran on.
"""

import argparse
import datetime
import gzip
import json
import time
from importlib.metadata import version
from pathlib import Path

SETS = {
    "multi30k-de": {"vocab": 10000, "budget": 4096, "epochs": 60, "length": 80, "beams": 5},
    "multi30k-fr": {"vocab": 10000, "budget": 4096, "epochs": 60, "length": 80, "beams": 5},
    "multi30k-both": {"vocab": 12000, "budget": 4096, "epochs": 40, "length": 80, "beams": 5},
    "tatoeba-en-zh": {"vocab": 8000, "budget": 4096, "epochs": 40, "length": 64, "beams": 4},
    "dialogsum": {"vocab": 10000, "budget": 8192, "epochs": 20, "length": 96, "beams": 4},
}
SOURCE_LENGTH = {"dialogsum": 384}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder that holds the sets' folders")
    parser.add_argument("--set", default="multi30k-de", choices=sorted(SETS))
    parser.add_argument("--model", default="transformer", choices=["transformer", "lstm", "gru"])
    parser.add_argument("--no-attention", action="store_true", help="of lstm and gru")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--average", type=int, default=10, help="the last checkpoints' mean")
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--positions", default="sinusoidal", choices=["sinusoidal", "relative"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--work", help="folder for checkpoints and the finished task")
    parser.add_argument("--validate-only", action="store_true", help="the last split is not read")
    args = parser.parse_args()
    args.recipe = SETS[args.set]
    args.epochs = args.epochs or args.recipe["epochs"]
    args.learning_rate = args.learning_rate or (3e-3 if args.model == "transformer" else 2e-3)
    return args


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file]


def table(path, *columns):
    from keras_lm import data

    rows = data.jsonl(path) if path.suffixes[0] == ".jsonl" else data.tsv(path)
    return [list(rows[column]) for column in columns]


def pairs(args):
    """Sources and targets of train, of the split for choosing, and of the split for the figure."""
    folder = Path(args.data)
    if args.set.startswith("multi30k"):
        codes = ["de", "fr"] if args.set.endswith("both") else [args.set[-2:]]
        splits = []
        for split in ("train", "val", "test_2016_flickr"):
            sources, targets = [], []
            for code in codes:
                english = lines(folder / "multi30k" / f"{split}.en.gz")
                other = lines(folder / "multi30k" / f"{split}.{code}.gz")
                tag = f"<2{code}> " if len(codes) > 1 else ""
                sources += [tag + text.lower() for text in english]
                targets += [text.lower() for text in other]
            splits.append((sources, targets))
        return splits
    columns = ("dialogue", "summary") if args.set == "dialogsum" else ("en", "zh")
    suffix = "jsonl.gz" if args.set == "dialogsum" else "tsv.gz"
    train, dev = (table(folder / args.set / f"{s}.{suffix}", *columns) for s in ("train", "dev"))
    rows = list(zip(*train, strict=True))
    kept = [row for number, row in enumerate(rows) if number % 20]
    seen = [set(column) for column in zip(*kept, strict=True)]
    # A sentence has several translations: a pair that shares one with training is half learnt by
    # heart, and a choice made on it prefers the model that remembers.
    apart = [
        row
        for row in rows[::20]
        if not any(text in texts for text, texts in zip(row, seen, strict=True))
    ]
    return [[list(column) for column in zip(*part, strict=True)] for part in (kept, apart)] + [dev]


def make_task(args, train):
    import keras_lm as klm

    recipe = args.recipe
    texts = [*train[0], *train[1]]
    tokenizer = klm.tokenizers.BytePairTokenizer.train(texts=texts, vocab_size=recipe["vocab"])
    common = {"vocab_size": tokenizer.vocab_size, "dropout": args.dropout}
    limits = {
        "max_length": recipe["length"],
        "max_source_length": SOURCE_LENGTH.get(args.set, recipe["length"]),
    }
    if args.model == "transformer":
        config = klm.EncoderDecoderConfig(
            **common,
            **limits,
            num_layers=4,
            hidden_dim=128,
            num_heads=4,
            feed_forward_dim=256,
            norm_position="pre",
            activation="relu",
            positions=args.positions,
            scale_embeddings=True,
            initializer_range=128**-0.5,
        )
        model = klm.models.Transformer(config)
    else:
        config = klm.RecurrentSeq2SeqConfig(
            **common,
            **limits,
            cell=args.model,
            num_layers=1,
            hidden_dim=256,
            tie_embeddings=True,
            attention=None if args.no_attention else "multiplicative",
            initializer_range=0.1,
        )
        model = klm.models.RecurrentSeq2Seq(config)
    kind = klm.tasks.Summarizer if args.set == "dialogsum" else klm.tasks.Translator
    return kind(model, tokenizer)


def scored(args, references, hypotheses):
    from keras_lm import metrics

    if args.set == "dialogsum":
        found = metrics.ROUGE(use_stemmer=True)
    elif args.set == "tatoeba-en-zh":
        found = metrics.BLEU(tokenize="zh")
    else:
        found = metrics.BLEU(lowercase=True)
    found.update_state(references, hypotheses)
    result = found.result()
    if isinstance(result, dict):
        return {name: round(float(value), 2) for name, value in result.items()}
    return round(float(result), 2)


def train(args, task, splits):
    import keras

    import keras_lm as klm

    schedule = klm.training.InverseSquareRoot(args.learning_rate, warmup_steps=1000)
    task.compile(
        keras.optimizers.Adam(schedule, beta_2=0.98, epsilon=1e-9),
        klm.training.NextTokenLoss(label_smoothing=0.1),
    )
    callbacks = []
    if args.average > 1:
        callbacks.append(klm.training.AverageCheckpoints(args.average))
    if args.work:
        callbacks.append(klm.training.Resume(Path(args.work) / "resume", every=200))
    return task.fit(
        *splits[0],
        token_budget=args.recipe["budget"],
        epochs=args.epochs,
        validation_data=tuple(splits[1]),
        callbacks=callbacks,
        seed=args.seed,
        verbose=2,
    )


def main():
    args = arguments()
    import keras

    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.dtype)
    splits = pairs(args)
    task = make_task(args, splits[0])
    parameters = task.model.count_params()
    print(f"{parameters:,} parameters; {len(splits[0][0]):,} pairs", flush=True)
    history = train(args, task, splits)
    if args.work:
        task.save_pretrained(Path(args.work) / "task")
    sources, targets = splits[1 if args.validate_only else 2]
    start, answers = time.perf_counter(), {}
    for name, beams in (("beam", args.recipe["beams"]), ("greedy", 1)):
        answers[name] = task.generate(sources, num_beams=beams, truncation=True)
    writing = time.perf_counter() - start
    half = len(sources) // 2
    report = {
        "set": args.set,
        "model": args.model + ("-no-attention" if args.no_attention else ""),
        "split": "validation" if args.validate_only else "figure",
        **{name: scored(args, targets, found) for name, found in answers.items()},
        "parameters": parameters,
        "epochs": args.epochs,
        "train_minutes": round(task.training_seconds / 60, 1),
        "write_minutes": round(writing / 60, 1),
        "processor_minutes": round(time.process_time() / 60, 1),
        "val_loss": round(history.history["val_loss"][-1], 4),
        "settings": vars(args) | {"recipe": args.recipe},
        "versions": {name: version(name) for name in ("keras", "tensorflow", "sacrebleu")},
        "date": datetime.date.today().isoformat(),
        "samples": list(zip(sources[:3], targets[:3], answers["beam"][:3], strict=True)),
    }
    if args.set.endswith("both"):
        report["each"] = {
            code: scored(args, targets[part], answers["beam"][part])
            for code, part in (("de", slice(0, half)), ("fr", slice(half, None)))
        }
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
