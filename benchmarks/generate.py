"""Greedy generation with a key/value cache: one call is the prompt's pass plus every new token.

Shapes of GPT-2 small and of SmolLM2-135M, random weights. Every call gets other prompts of the
same shape. "keras_lm, other lengths" gets prompts of other lengths within one bucket each time:
nothing may be compiled again, so its second call must take as long as its later ones.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Callable, Iterable

import numpy as np
from driver import Workload, contender, main


@dataclasses.dataclass(frozen=True)
class Shape:
    vocab: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int


SHAPES = {
    "gpt2": Shape(50257, 12, 768, 12, 12, 3072),
    "smollm2": Shape(49152, 30, 576, 9, 3, 1536),
}
MAX_LENGTH = 1024
ROPE_BASE = 100_000.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shape", default="gpt2", choices=SHAPES)
    parser.add_argument("--batch", type=int, default=1, help="prompts in a call")
    parser.add_argument("--prompt", type=int, default=32, help="ids in a prompt")
    parser.add_argument("--new", type=int, default=128, help="ids to generate")


def workload(
    args: argparse.Namespace,
    generate: Callable[[np.ndarray], np.ndarray],
    lengths: Iterable[int] | None = None,
) -> Workload:
    """Calls `generate` with other prompts each time, of `lengths` ids, call by call."""
    random = np.random.default_rng(0)
    lengths = iter(lengths or itertools.repeat(args.prompt))

    def step() -> None:
        prompts = random.integers(5, 5000, (args.batch, next(lengths))).astype("int32")
        shape, wanted = np.shape(generate(prompts)), prompts.shape[1] + args.new
        if shape != (args.batch, wanted):
            raise ValueError(f"{args.batch} rows of {wanted} ids were due, {shape} came")

    return Workload(step, args.batch * args.new)


def keras_lm_generator(args: argparse.Namespace) -> Callable[[np.ndarray], np.ndarray]:
    import keras

    import keras_lm as klm

    keras.utils.set_random_seed(0)
    shape = SHAPES[args.shape]
    llama = {
        "norm": "rms",
        "activation": "swiglu",
        "use_bias": False,
        "positions": {"kind": "rotary", "rotary_base": ROPE_BASE},
    }
    config = klm.TransformerConfig(
        vocab_size=shape.vocab,
        num_layers=shape.layers,
        hidden_dim=shape.width,
        num_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        feed_forward_dim=shape.feed_forward,
        max_length=MAX_LENGTH,
        **({} if args.shape == "gpt2" else llama),
    )
    model = klm.models.Decoder(config)

    def generate(prompts: np.ndarray) -> np.ndarray:
        return klm.generation.generate_ids(model, prompts, max_new_tokens=args.new, temperature=0.0)

    return generate


@contender("keras_lm", backend="tensorflow")
def keras_lm(args: argparse.Namespace) -> Workload:
    return workload(args, keras_lm_generator(args))


@contender("keras_lm, other lengths", backend="tensorflow")
def keras_lm_other_lengths(args: argparse.Namespace) -> Workload:
    shorter_each_time = itertools.cycle(range(args.prompt, args.prompt // 2, -1))
    return workload(args, keras_lm_generator(args), shorter_each_time)


def keras_hub(args: argparse.Namespace, jit_compile: bool) -> Workload:
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    shape = SHAPES[args.shape]
    if args.shape == "gpt2":
        backbone = keras_hub.models.GPT2Backbone(
            vocabulary_size=shape.vocab,
            num_layers=shape.layers,
            num_heads=shape.heads,
            hidden_dim=shape.width,
            intermediate_dim=shape.feed_forward,
            max_sequence_length=MAX_LENGTH,
            dropout=0.0,
        )
        task = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    else:
        backbone = keras_hub.models.LlamaBackbone(
            vocabulary_size=shape.vocab,
            num_layers=shape.layers,
            num_query_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            hidden_dim=shape.width,
            intermediate_dim=shape.feed_forward,
            rope_max_wavelength=ROPE_BASE,
            tie_word_embeddings=True,
        )
        task = keras_hub.models.LlamaCausalLM(backbone, preprocessor=None)
    task.compile(sampler="greedy", jit_compile=jit_compile)

    def generate(ids: np.ndarray) -> np.ndarray:
        inputs = {
            "token_ids": np.pad(ids, ((0, 0), (0, args.new))),
            "padding_mask": np.pad(np.ones_like(ids), ((0, 0), (0, args.new))),
        }
        return np.asarray(task.generate(inputs, stop_token_ids=None)["token_ids"])

    return workload(args, generate)


@contender("keras-hub, XLA", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_xla(args: argparse.Namespace) -> Workload:
    return keras_hub(args, True)


@contender("keras-hub, graph", python="BENCH_PY_PEERS", backend="tensorflow")
def keras_hub_graph(args: argparse.Namespace) -> Workload:
    return keras_hub(args, False)


@contender("Transformers, eager", python="BENCH_PY_PEERS")
def transformers(args: argparse.Namespace) -> Workload:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    shape = SHAPES[args.shape]
    if args.shape == "gpt2":
        config = GPT2Config(
            vocab_size=shape.vocab,
            n_positions=MAX_LENGTH,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=shape.heads,
            n_inner=shape.feed_forward,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = GPT2LMHeadModel(config).eval()
    else:
        config = LlamaConfig(
            vocab_size=shape.vocab,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            intermediate_size=shape.feed_forward,
            max_position_embeddings=MAX_LENGTH,
            rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = LlamaForCausalLM(config).eval()

    def generate(ids: np.ndarray) -> np.ndarray:
        token_ids = torch.from_numpy(ids).long()
        return model.generate(
            token_ids,
            attention_mask=torch.ones_like(token_ids),
            max_new_tokens=args.new,
            do_sample=False,
            pad_token_id=0,
        ).numpy()

    return workload(args, generate)


if __name__ == "__main__":
    main("Greedy generation", add_arguments)
