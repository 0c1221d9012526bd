"""nanoGPT's small recipe on characters, in keras_lm and in torch, on the same batches.

    python benchmarks/nano_recipe.py --text train.txt --valid valid.txt --library keras_lm
    python benchmarks/nano_recipe.py --text train.txt --valid valid.txt --library torch

4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps, no dropout, no biases; AdamW with
beta2 0.99, weight decay 0.1 on matrices, gradients clipped to norm 1, learning rate warmed up for
100 steps to 1e-3 and then a cosine down to 1e-4. Prints one JSON line: the validation loss in nats
a character over the whole text, in windows of 64 that do not overlap. Windows of a step begin
anywhere in the training text; they are drawn by NumPy, the same for both libraries.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, WARMUP = 4, 4, 128, 64, 12, 100
PEAK, LOWEST = 1e-3, 1e-4


def learning_rate(step, steps):
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / (steps - WARMUP)
    return LOWEST + 0.5 * (1 + math.cos(math.pi * share)) * (PEAK - LOWEST)


def read(args):
    train, valid = (Path(path).read_text(encoding="utf-8") for path in (args.text, args.valid))
    characters = sorted(set(train) | set(valid))
    ids = {character: i for i, character in enumerate(characters)}
    return [np.array([ids[c] for c in text], "int32") for text in (train, valid)], len(characters)


def training_windows(ids, args):
    starts = np.random.default_rng(args.seed).integers(
        0, len(ids) - CONTEXT - 1, (args.steps, BATCH, 1)
    )
    return ids[starts + np.arange(CONTEXT + 1)]


def validation_windows(ids):
    count = (len(ids) - 1) // CONTEXT
    return ids[np.arange(count)[:, None] * CONTEXT + np.arange(CONTEXT + 1)]


def with_keras_lm(train, valid, vocab_size, args):
    import keras
    import tensorflow as tf

    import keras_lm as klm

    keras.utils.set_random_seed(args.seed)
    config = klm.TransformerConfig(
        vocab_size=vocab_size,
        num_layers=LAYERS,
        hidden_dim=WIDTH,
        num_heads=HEADS,
        max_length=CONTEXT,
        use_bias=False,
        activation="gelu",
    )
    lm = klm.tasks.CausalLM(klm.models.Decoder(config))

    @keras.saving.register_keras_serializable("nano_recipe")
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self):
            self.rates = [learning_rate(step, args.steps) for step in range(args.steps)]

        def __call__(self, step):
            return tf.gather(tf.constant(self.rates), tf.minimum(step, args.steps - 1))

    optimizer = keras.optimizers.AdamW(
        Schedule(), weight_decay=0.1, beta_2=0.99, epsilon=1e-8, global_clipnorm=1.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    lm.compile(optimizer)
    windows = training_windows(train, args)
    began = time.perf_counter()
    lm.fit(tf.data.Dataset.from_tensor_slices(windows), verbose=0)
    seconds = time.perf_counter() - began
    results = lm.evaluate(validation_windows(valid), verbose=0, return_dict=True)
    return results["loss"], seconds


def with_torch(train, valid, vocab_size, args):
    import torch
    from torch import nn

    torch.manual_seed(args.seed)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Embedding(vocab_size, WIDTH)
            self.position = nn.Embedding(CONTEXT, WIDTH)
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True, bias=False
            )
            self.blocks = nn.TransformerEncoder(
                layer, LAYERS, nn.LayerNorm(WIDTH, bias=False), enable_nested_tensor=False
            )
            self.mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
            for name, parameter in self.named_parameters():
                if parameter.dim() > 1:
                    is_residual = "out_proj" in name or "linear2" in name
                    scale = 0.02 / math.sqrt(2 * LAYERS) if is_residual else 0.02
                    nn.init.normal_(parameter, 0.0, scale)

        def forward(self, ids):
            hidden = self.token(ids) + self.position.weight[: ids.shape[1]]
            hidden = self.blocks(hidden, mask=self.mask, is_causal=True)
            return hidden @ self.token.weight.T

    model = Model()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    gains = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, PEAK, betas=(0.9, 0.99))

    def nats(windows):
        ids = torch.from_numpy(windows).long()
        logits = model(ids[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    began = time.perf_counter()
    for step, windows in enumerate(training_windows(train, args)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps)
        optimizer.zero_grad(set_to_none=True)
        nats(windows).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - began
    model.eval()
    with torch.no_grad():
        return float(nats(validation_windows(valid))), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", required=True, help="training text")
    parser.add_argument("--valid", required=True, help="validation text")
    parser.add_argument("--library", choices=["keras_lm", "torch"], default="keras_lm")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    (train, valid), vocab_size = read(args)
    run = {"keras_lm": with_keras_lm, "torch": with_torch}[args.library]
    loss, seconds = run(train, valid, vocab_size, args)
    result = {"library": args.library, "seed": args.seed, "steps": args.steps}
    print(json.dumps(result | {"validation_nats": round(loss, 4), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
