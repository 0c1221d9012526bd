"""How much memory loading and saving a model takes at its peak, as a multiple of its weights.

Random Llama weights of about the size that is asked for are written as a directory of shards and,
where the package `gguf` is installed, as one Q8_0 file. Each is loaded in a fresh process, in
float32 and in bfloat16. Measured is the peak of the resident set (`ru_maxrss`) above what it was
just before, when everything is imported and a tiny model has been loaded; files are read and not
mapped, so the peak is memory of the process alone. At most 1.3 is wanted.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from driver import ENVIRONMENT

MOST = 1.3
PROGRAM = """
import resource, sys, time
import keras_lm as klm
from keras_lm import checkpoints
def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
what, tiny, path, dtype, target = sys.argv[1:]
model = checkpoints.load_model(tiny, dtype=dtype)
if what == "load":
    before, begins = peak(), time.perf_counter()
    model = checkpoints.load_model(path, dtype=dtype)
else:
    checkpoints.save_model(model, target + "-tiny")
    model = checkpoints.load_model(path, dtype=dtype)
    before, begins = peak(), time.perf_counter()
    checkpoints.save_model(model, target)
seconds = time.perf_counter() - begins
weights = sum(v.value.dtype.size * int(v.value.shape.num_elements()) for v in model.weights)
print("result", peak() - before, weights, seconds)
"""


def write_weights(directory: Path, megabytes: int) -> None:
    """A random Llama of about so many megabytes of float32, in shards, and as a GGUF file."""
    import keras_lm as klm
    from keras_lm.checkpoints import save_model, writing

    writing.SHARD_BYTES = 100 * 2**20
    width = 64
    while _count(width + 64) * 4 <= megabytes * 2**20:
        width += 64
    save_model(klm.models.Decoder(klm.TransformerConfig(**_sizes(width))), directory)
    try:
        import gguf
    except ImportError:
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from harness_gguf import write_gguf

    from keras_lm.storage import SafetensorsFiles

    source = SafetensorsFiles(directory)
    config = json.loads((directory / "config.json").read_text())
    tensors = {name: source.read(name) for name in source.shapes}
    kind = gguf.GGMLQuantizationType.Q8_0
    write_gguf(directory.with_suffix(".gguf"), "llama", config, tensors, kind=kind)


def _sizes(width: int) -> dict[str, object]:
    return {
        "vocab_size": 32000,
        "num_layers": 8,
        "hidden_dim": width,
        "num_heads": width // 64,
        "feed_forward_dim": 4 * width,
        "norm": "rms",
        "activation": "swiglu",
        "use_bias": False,
        "positions": "rotary",
    }


def _count(width: int) -> int:
    return 32000 * width + 8 * 16 * width * width


def measured(*arguments: object) -> tuple[float, float, float]:
    """Bytes at the peak, bytes of weights, and seconds."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env=os.environ | ENVIRONMENT | {"KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak, weights, seconds = map(float, done.stdout.split("result")[-1].split())
    return peak, weights, seconds


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400, help="of weights in float32")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, megabytes in (("tiny", 9), ("model", args.megabytes)):
            # In a process of its own: what it has taken would be inherited.
            arguments = folder / name, megabytes
            writer = multiprocessing.get_context("spawn").Process(
                target=write_weights, args=arguments
            )
            writer.start()
            writer.join()
        print("\n## Peak memory of loading and saving, as a multiple of the weights\n")
        print(
            "| what | weights, MB | peak above, MB | ratio | s |\n| --- | --: | --: | --: | --: |"
        )
        for what, ending in (("load", ""), ("load", ".gguf"), ("save", "")):
            path, tiny = folder / f"model{ending}", folder / f"tiny{ending}"
            if not path.exists():
                print(f"| {what} {ending}: the package gguf is not installed | | | | |")
                continue
            for dtype in ("float32", "bfloat16"):
                target = folder / f"{what}-{dtype}"
                peak, weights, seconds = measured(what, tiny, path, dtype, target)
                # What is saved stands in memory before: only what comes to it counts.
                ratio = peak / weights + (what == "save")
                cells = f"{weights / 2**20:.0f} | {peak / 2**20:.0f} | {ratio:.2f} | {seconds:.1f}"
                mark = "" if ratio <= MOST else f" above {MOST}!"
                print(f"| {what} {ending or 'directory'}, {dtype} | {cells} |{mark}", flush=True)


if __name__ == "__main__":
    main()
