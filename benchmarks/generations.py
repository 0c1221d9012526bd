"""Five generations of language models of like size on the same bytes, one scale.

    python benchmarks/generations.py --text train.txt --out runs --model lstm
    keras-lm compare runs/* --text valid.txt --out scale.png

`--model` is one of ngram, rnn, lstm, gru, gpt. All read bytes; the networks have about 1.6 million
weights, and each is trained on 4,096 bytes a step (32 windows of 128; the GPT 16 of 256) with
AdamW, its learning rate warmed up over 200 steps and then brought down to a tenth by half a cosine,
gradients clipped to norm 1, dropout 0.25 (GPT 0.1), weights averaged (EMA 0.999). The recurrent
ones carry their state from batch to batch (truncated back-propagation through time). Nothing here
was chosen by looking at the validation text.
"""

import argparse
import json
import time
from pathlib import Path

import keras

import keras_lm as klm

WINDOW, BATCH, DROPOUT = 128, 32, 0.25  # the GPT: windows of twice the length, half as many
RECURRENT = {
    "rnn": {"num_layers": 2, "hidden_dim": 640},
    "lstm": {"num_layers": 1, "hidden_dim": 512},
    "gru": {"num_layers": 1, "hidden_dim": 600},
}
PEAK = {"rnn": 1e-3, "lstm": 2e-3, "gru": 2e-3, "gpt": 1e-3}


def make_model(kind, vocab_size, dtype):
    if kind == "ngram":
        return klm.models.NGramLM(order=5)
    if kind == "gpt":
        config = klm.TransformerConfig(
            vocab_size=vocab_size,
            num_layers=5,
            hidden_dim=160,
            num_heads=5,
            max_length=2 * WINDOW,
            dropout=0.1,  # it acts ten times between a GPT's input and output, twice in an LSTM
        )
        return klm.models.Decoder(config, dtype=dtype)
    config = klm.RecurrentConfig(
        cell=kind, vocab_size=vocab_size, embedding_dim=256, dropout=DROPOUT, **RECURRENT[kind]
    )
    return klm.models.RecurrentLM(config, dtype=dtype)


def make_optimizer(kind, steps):
    schedule = keras.optimizers.schedules.CosineDecay(
        PEAK[kind] / 200,
        decay_steps=max(steps - 200, 1),
        alpha=0.1,
        warmup_target=PEAK[kind],
        warmup_steps=200,
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=0.05,
        beta_2=0.99,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=0.999,
    )


class Limit(keras.callbacks.Callback):
    """Prints the training loss now and then, with the time."""

    def __init__(self, every):
        super().__init__()
        self.every, self.began = every, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.every == 0:
            seconds = time.perf_counter() - self.began
            print(f"step {batch} {seconds:.0f} s loss {float(logs['loss']):.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", required=True, help="training text")
    parser.add_argument("--out", required=True, help="directory of the models")
    parser.add_argument("--model", choices=["ngram", *PEAK], required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    tokenizer = klm.tokenizers.ByteTokenizer.create()
    texts = [Path(args.text).read_text(encoding="utf-8")]
    model = make_model(args.model, tokenizer.vocab_size, args.dtype)
    window, batch = (2 * WINDOW, BATCH // 2) if args.model == "gpt" else (WINDOW, BATCH)
    lm = klm.tasks.CausalLM(model, tokenizer, sequence_length=window)
    if args.model == "ngram":
        lm.fit(texts, verbose=0)
    else:
        lm.compile(make_optimizer(args.model, args.steps))
        lm.fit(
            texts,
            batch_size=batch,
            steps_per_epoch=args.steps,
            carry_state=args.model in RECURRENT,
            callbacks=[Limit(100), keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
            verbose=0,
        )
    # Where a model has no limit, it may look back further than the windows of its training.
    final = klm.tasks.CausalLM(model, tokenizer, sequence_length=model.config.max_length or 512)
    final.training_seconds = lm.training_seconds
    final.save_pretrained(Path(args.out) / args.model)
    print(json.dumps({"model": args.model, "training_seconds": round(lm.training_seconds, 1)}))


if __name__ == "__main__":
    main()
