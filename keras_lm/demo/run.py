"""The demo, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
from rich.console import Console

from keras_lm.demo import report
from keras_lm.demo.corpus import Corpus
from keras_lm.demo.serving import answers_of_a_fresh_process
from keras_lm.demo.sizes import Size
from keras_lm.demo.training import build, train
from keras_lm.models import NGramLM
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import BytePairTokenizer, ByteTokenizer

NUM_PROMPTS = 4
PROMPT_LENGTH = 30
TEMPERATURE = 0.8
TOP_P = 0.95

WRITTEN = {
    "loss.png": "the loss curve",
    "tensorboard/": "tensorboard --logdir …",
    "pretrained/": "keras_lm.tasks.CausalLM.from_pretrained(…)",
    "savedmodel/": "import tensorflow_text; tf.saved_model.load(…)",
}


def run(corpus: Corpus, out: Path, size: Size, seed: int, console: Console) -> None:
    """Trains, measures, samples, saves, exports and serves a GPT, and shows each.

    Args:
        corpus: the texts to train on, and those to measure on.
        out: a directory; the curve, the logs, the model and the SavedModel are written there.
        size: the model and its training.
        seed: of the weights, of the order of the data and of the samples. With it, everything
            printed but the times is the same from run to run on one machine.
        console: where to print.

    Raises:
        RuntimeError: the SavedModel failed, or did not say what the model says.
    """
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    stage = report.Stages(console, count=7)

    with stage("A byte-level BPE vocabulary, and the byte n-grams to beat", usual_seconds=5):
        # A small text has no use for a large vocabulary.
        vocab_size = min(size.vocab_size, 256 + corpus.num_bytes[0] // 50)
        tokenizer = BytePairTokenizer.train(texts=corpus.train, vocab_size=vocab_size)
        bits = bits_of_ngrams(corpus, orders=(1, 3, 5))
    lm = build(tokenizer, size)
    console.print(report.table(describe(corpus, lm, size)))

    with stage("Training with model.fit"):
        curve = train(lm, corpus.train, size, seed, out / "tensorboard", console)
    with stage("Measuring on the held-out text"):
        results = lm.evaluate(
            corpus.held_out,
            batch_size=size.batch_size,
            return_dict=True,
            verbose=1 if console.is_terminal else 2,
        )
    bits["this GPT"] = results["bits_per_byte"]
    console.print(report.scores(bits))
    # From nats per token to bits per byte as on the held-out text.
    scale = results["bits_per_byte"] / results["loss"]
    training_bits = [scale * loss for loss in curve.losses]
    report.draw_curve(out / "loss.png", curve.steps, training_bits, bits, console)

    prompts = prompts_from(corpus.held_out)
    with stage(f"Sampling at temperature {TEMPERATURE}", usual_seconds=10):
        samples = lm.generate(prompts, temperature=TEMPERATURE, top_p=TOP_P, seed=seed)
    for prompt, text in zip(prompts, samples, strict=True):
        console.print(report.sample(prompt, text))

    with stage("Saving the pretrained directory", usual_seconds=2):
        lm.save_pretrained(out / "pretrained")
    with stage("Exporting the SavedModel", usual_seconds=20):
        lm.export(out / "savedmodel")
    with stage("Serving strings from a fresh process that cannot import keras_lm", 20):
        here = lm.generate(prompts, temperature=0)
        there = answers_of_a_fresh_process(out / "savedmodel", prompts)
    console.print(report.comparison(here, there))
    if here != there:
        raise RuntimeError("the SavedModel answers something else than the model it was made from")
    console.print("[bold green]The generated strings are the same.")
    written = {name: use for name, use in WRITTEN.items() if (out / name).exists()}
    console.print(report.table(written, title=f"Written to {out}/"))


def bits_of_ngrams(corpus: Corpus, orders: Sequence[int]) -> dict[str, float]:
    """Held-out bits per byte of byte n-gram models with Kneser–Ney smoothing."""
    tokenizer, bits = ByteTokenizer.create(), {}
    for order in orders:
        lm = CausalLM(NGramLM(order=order), tokenizer)
        lm.fit(corpus.train, verbose=0)
        results = lm.evaluate(corpus.held_out, return_dict=True, verbose=0)
        bits[f"{order}-gram of bytes"] = float(results["bits_per_byte"])
    return bits


def describe(corpus: Corpus, lm: CausalLM, size: Size) -> dict[str, object]:
    """What is trained on what, for a table."""
    train_bytes, held_out_bytes = corpus.num_bytes
    return {
        "training text, bytes": train_bytes,
        "training documents": len(corpus.train),
        "held-out text, bytes": held_out_bytes,
        "held-out documents": len(corpus.held_out),
        "vocabulary": lm.model.config.vocab_size,
        "layers": size.num_layers,
        "width": size.hidden_dim,
        "heads": size.num_heads,
        "context, tokens": size.max_length,
        "parameters": lm.model.count_params(),
        "training steps": size.steps,
        "tokens a step": size.batch_size * size.max_length,
    }


def prompts_from(texts: list[str]) -> list[str]:
    """The first words of the longest texts."""
    longest = sorted(texts, key=len, reverse=True)[:NUM_PROMPTS]
    return [_first_words(text.strip()) for text in longest]


def _first_words(text: str) -> str:
    """The whole words in the first 30 characters; where no word ends (Chinese), all of these."""
    words, *cut = text[: PROMPT_LENGTH + 1].rsplit(maxsplit=1)
    return words if cut else text[:PROMPT_LENGTH]
