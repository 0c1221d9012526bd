"""How long a package's import takes in a fresh process that has imported TensorFlow and Keras.

`import keras_lm` itself should cost next to nothing; the second line is the first use of a task,
which loads the models and what they need. Medians of several processes, on one core.
"""

import argparse
import os
import statistics
import subprocess
import sys

from driver import ENVIRONMENT

STATEMENTS = {
    "import keras_lm": "",
    "import keras_lm; keras_lm.tasks.CausalLM": "",
    "import keras_hub": "BENCH_PY_PEERS",
}
PROGRAM = """
import time, tensorflow, keras
start = time.perf_counter()
{statement}
print("seconds", time.perf_counter() - start)
"""


def seconds(statement: str, python: str) -> float | None:
    """The time of one statement in a fresh process, or None where the package is missing."""
    process = subprocess.run(
        [python, "-c", PROGRAM.format(statement=statement)],
        env=os.environ | ENVIRONMENT | {"KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    if process.returncode and "ModuleNotFoundError" in process.stderr:
        return None
    process.check_returncode()
    return float(process.stdout.split("seconds")[-1])


def main() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes for each statement")
    parser.add_argument("--core", type=int, default=0, help="the processor core to run on")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # Linux alone has it
        os.sched_setaffinity(0, {args.core})
    print("\n## Import time, added to TensorFlow's and Keras's\n")
    print("| statement | median s | min s |\n| --- | --: | --: |")
    for statement, variable in STATEMENTS.items():
        python = os.environ.get(variable, sys.executable)
        times = [seconds(statement, python) for _ in range(args.repeats + 1)]
        if None in times:
            print(f"| {statement} | not installed | |")
        else:  # the first process reads the files from the disk
            median, least = statistics.median(times[1:]), min(times[1:])
            print(f"| {statement} | {median:.3f} | {least:.3f} |", flush=True)


if __name__ == "__main__":
    main()
