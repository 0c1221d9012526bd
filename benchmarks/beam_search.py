"""Beam search over a small encoder–decoder: a call writes `--new` tokens for a batch of sources.

A Marian of random weights (4 + 4 layers of width 128, vocabulary 8,000); keras_lm reads the very
directory that Transformers has written. No sequence may end before `--new` tokens, so all do the
same work; the last column is the first token id of the first answer, which must be the same.
"""

import argparse
import atexit
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from driver import Workload, contender, main

_WRITE = """
import sys, json, torch
from transformers import MarianConfig, MarianMTModel
torch.manual_seed(0)
model = MarianMTModel(MarianConfig(**json.loads(sys.argv[2]))).eval()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.mul_(3.0)
model.save_pretrained(sys.argv[1])
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16, help="sources in a call")
    parser.add_argument("--length", type=int, default=20, help="tokens of a source")
    parser.add_argument("--new", type=int, default=24, help="tokens to write")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dtype", default="float32", choices=["float32"])


def checkpoint(args: argparse.Namespace) -> Path:
    """The directory of the model, written by Transformers in a process of its own."""
    import os

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    fields = {
        "vocab_size": args.vocab,
        "d_model": args.width,
        "encoder_layers": args.layers,
        "decoder_layers": args.layers,
        "encoder_attention_heads": args.heads,
        "decoder_attention_heads": args.heads,
        "encoder_ffn_dim": 4 * args.width,
        "decoder_ffn_dim": 4 * args.width,
        "max_position_embeddings": 128,
        "pad_token_id": args.vocab - 1,
        "decoder_start_token_id": args.vocab - 1,
        "eos_token_id": 0,
        "forced_eos_token_id": None,
    }
    python = os.environ.get("BENCH_PY_PEERS", sys.executable)
    subprocess.run([python, "-c", _WRITE, str(folder), json.dumps(fields)], check=True)
    return folder


def workload(args: argparse.Namespace, search) -> Workload:
    random = np.random.default_rng(0)
    sources = random.integers(1, args.vocab - 1, (args.batch, args.length)).astype("int32")

    def step() -> float:
        ids = search(sources)
        if np.shape(ids) != (args.batch, args.new + 1):
            raise ValueError(
                f"{args.batch} rows of {args.new + 1} ids were due, {np.shape(ids)} came"
            )
        return float(ids[0][1])

    return Workload(step, args.batch * args.new, "token")


@contender("keras_lm", backend="tensorflow")
def keras_lm(args: argparse.Namespace) -> Workload:
    from keras_lm.checkpoints import load_model
    from keras_lm.generation import generate_ids

    model = load_model(checkpoint(args))
    return workload(
        args,
        lambda sources: generate_ids(
            model,
            sources,
            num_beams=args.beams,
            max_new_tokens=args.new,
            min_new_tokens=args.new,
        ),
    )


@contender("Transformers", python="BENCH_PY_PEERS")
def transformers(args: argparse.Namespace) -> Workload:
    import torch
    from transformers import MarianMTModel

    torch.set_num_threads(1)
    model = MarianMTModel.from_pretrained(checkpoint(args)).eval()

    def search(sources: np.ndarray) -> np.ndarray:
        ids = torch.from_numpy(sources).long()
        with torch.inference_mode():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                num_beams=args.beams,
                max_new_tokens=args.new,
                min_new_tokens=args.new,
                do_sample=False,
            ).numpy()

    return workload(args, search)


if __name__ == "__main__":
    main("Beam search, encoder–decoder 4 + 4 × 128", add_arguments)
