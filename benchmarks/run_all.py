"""Runs every benchmark with small settings: some twenty minutes on one core, 10 GB at most.

`make bench` calls it. The contenders of one run are all in memory, so the large vocabulary takes
the best of each library only, not all.
"""

import pathlib
import subprocess
import sys

LARGE_VOCABULARY = ["gpt_train.py", "--vocab", "50304", "--repeats", "3"]
RUNS = [
    ["import_time.py"],
    ["tokenize_text.py"],
    ["generate.py"],
    ["gpt_train.py"],
    [*LARGE_VOCABULARY, "--only", "keras_lm; keras-hub, XLA; keras-hub, graph"],
    [
        *LARGE_VOCABULARY,
        *("--dtype", "mixed_bfloat16"),
        *("--only", "keras_lm; keras-hub, graph; Transformers, compiled"),
    ],
    ["recurrent_train.py", "--repeats", "3", "--only", "keras_lm; Keras, graph; torch, eager"],
    ["load_memory.py"],
]

if __name__ == "__main__":
    folder = pathlib.Path(__file__).parent
    for script, *arguments in RUNS:
        subprocess.run([sys.executable, folder / script, *arguments, *sys.argv[1:]], check=True)
