"""Host memory of training on a gigabyte of tokens that lie in shards on disk.

Writes 500 million ids (1 GB, uint16, documents of 500 ids) as `keras_lm.data.prepare` would, trains
a small model on shuffled windows of them, and prints the most memory that the process has had of
its own (anonymous pages; those of memory maps are the system's cache and given up when needed).

    python benchmarks/train_from_shards.py [--tokens 500000000] [--steps 500]
"""

import argparse
import re
import tempfile
import time
from pathlib import Path

import numpy as np

SHARD = 16_000_000
DOCUMENT = 500


def memory(name: str) -> float:
    """A line of this process's status, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1000


def write_shards(directory: Path, num_tokens: int, tokenizer) -> None:
    from keras_lm.data import shards

    draw = np.random.default_rng(0)
    source = {"tokenizer": shards.fingerprint(tokenizer)}
    index = {"format": shards.FORMAT, "source": source, "shards": [], "finished": True}
    for number, begin in enumerate(range(0, num_tokens, SHARD)):
        count = min(SHARD, num_tokens - begin) // DOCUMENT
        tokens = draw.integers(256, size=count * DOCUMENT, dtype=np.uint16)
        documents = np.full([count, 2], [DOCUMENT, DOCUMENT - 2])
        shards.write_shard(directory, number, tokens, documents)
        index["shards"].append({"tokens": len(tokens), "documents": count, "behind": [0, 0]})
    shards.write_index(directory, index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=500_000_000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--length", type=int, default=512)
    arguments = parser.parse_args()

    import keras

    import keras_lm as klm

    tokenizer = klm.tokenizers.BytePairTokenizer.train(texts=["aa"] * 9, vocab_size=258)
    config = klm.TransformerConfig(
        vocab_size=258, num_layers=2, hidden_dim=64, num_heads=2, max_length=arguments.length
    )
    lm = klm.tasks.CausalLM(klm.models.Decoder(config), tokenizer)
    lm.compile()
    peak = resident = 0.0

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            nonlocal peak, resident
            peak, resident = max(peak, memory("RssAnon")), max(resident, memory("VmRSS"))

    with tempfile.TemporaryDirectory() as directory:
        write_shards(Path(directory), arguments.tokens, tokenizer)
        size = sum(path.stat().st_size for path in Path(directory).glob("*.tokens.npy"))
        print(f"{size / 1e9:.2f} GB of tokens; before: {memory('RssAnon'):.0f} MB of its own")
        begin = time.perf_counter()
        store = klm.data.TokenStore.load(directory, tokenizer)
        plan = klm.data.training_windows(store, arguments.length)
        print(f"opened and planned {len(plan):,} windows in {time.perf_counter() - begin:.1f} s")
        peak = memory("RssAnon")
        batches = klm.data.batches(store, plan, 8, shuffle=True, repeat=True)
        lm.fit(batches, steps_per_epoch=arguments.steps, callbacks=[Watch()], verbose=2)
        print(f"most memory of its own: {peak:.0f} MB while training")
        print(f"with the files that are mapped, TensorFlow's libraries too: {resident:.0f} MB")


if __name__ == "__main__":
    main()
