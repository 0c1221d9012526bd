"""Measures contenders side by side: each in a process of its own, asked in turn, on one core.

A script declares its contenders and calls `main`:

    @contender("keras-hub, XLA", python="BENCH_PY_PEERS", backend="tensorflow")
    def keras_hub_xla(args):             # runs in the worker, imports what it needs
        ...
        return Workload(step, tokens=2048, result_name="loss")

    if __name__ == "__main__":
        main("Training step", add_arguments)

`python` names the environment variable that holds the Python to run the contender with; where it
is not set, and for our own contenders, that is the running one. Every worker builds and compiles,
one after the other; then the controller asks them A B C A B C … for one timed step each, so that
a machine that becomes slower or faster does so for all.

Compared are the medians of the processor time, which on a free core is the wall-clock time: time
in which another process had the core is not held against a contender. It still suffers from what
others do to caches and memory, so only ratios within one run mean something, and a spread (longest
− shortest, as a share of the median) above some 20 % means: run again.
"""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable

OURS = "keras_lm"  # the contender that the others are compared with

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """What a contender offers: `step()` does one timed piece of work and returns when it is done.

    Args:
        step: returns a number to compare between contenders, such as the loss, or None.
        tokens: how many tokens one step works off.
        result_name: what the number is; heads its column.
    """

    step: Callable[[], float | None]
    tokens: int
    result_name: str = ""


@dataclasses.dataclass(frozen=True)
class Contender:
    build: Callable[[argparse.Namespace], Workload]
    python: str
    backend: str


CONTENDERS: dict[str, Contender] = {}


def contender(name: str, python: str = "", backend: str = "") -> Callable:
    """Registers a function that builds a `Workload` from the script's arguments."""

    def register(build: Callable[[argparse.Namespace], Workload]) -> Callable:
        CONTENDERS[name] = Contender(build, python, backend)
        return build

    return register


def processor_seconds() -> float:
    """Of this process and of the programs that it ran to their end."""
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime


def serve(args: argparse.Namespace) -> None:
    """The worker: builds one contender, then runs a step for every line it is sent."""
    # What libraries print must not get between our lines, so stdout becomes stderr for them.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**fields: object) -> None:
        answers.write(json.dumps(fields) + "\n")

    try:
        workload = CONTENDERS[args.worker].build(args)
        answer(tokens=workload.tokens, result_name=workload.result_name)
        for _ in sys.stdin:
            start, cpu_start = time.perf_counter(), processor_seconds()
            result = workload.step()
            cpu_seconds = processor_seconds() - cpu_start
            seconds = time.perf_counter() - start
            peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answer(seconds=seconds, cpu_seconds=cpu_seconds, result=result, peak_mb=peak_kb / 1024)
    except ModuleNotFoundError as error:
        answer(error=f"not installed: {error.name}")
    except Exception as error:
        traceback.print_exc()
        answer(error=f"{type(error).__name__}: {error}"[:200])


class Worker:
    """The controller's end of one worker process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.answer: dict = {}
        self.error = ""
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 — open as long as the process
        chosen = CONTENDERS[name]
        python = os.environ.get(chosen.python, sys.executable)
        environment = os.environ | ENVIRONMENT
        if chosen.backend:
            environment["KERAS_BACKEND"] = chosen.backend
        try:
            self.process = subprocess.Popen(
                [python, *sys.argv, "--worker", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
                env=environment,
            )
        except FileNotFoundError:
            self.error = f"not installed: there is no {python}, which {chosen.python} names"
        else:
            self.read()

    def read(self) -> None:
        line = self.process.stdout.readline()
        self.answer |= json.loads(line) if line else {"error": "the worker died"}
        self.error = self.answer.get("error", "")
        if self.error and not self.error.startswith("not installed"):
            self.log.seek(0)
            print(self.log.read()[-4000:], file=sys.stderr)

    def run_step(self) -> None:
        if self.error:
            return
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        self.read()
        if not self.error:
            self.seconds.append(self.answer["seconds"])
            self.cpu_seconds.append(self.answer["cpu_seconds"])

    def close(self) -> None:
        if hasattr(self, "process"):
            self.process.stdin.close()
            self.process.wait()


def table(workers: list[Worker], warm_up: int) -> str:
    """A Markdown table: one line a contender; the last column says how much faster ours is."""
    medians = {w.name: statistics.median(w.cpu_seconds[warm_up:]) for w in workers if not w.error}
    result_name = next((w.answer["result_name"] for w in workers if not w.error), "")
    lines = [
        f"| contender | CPU ms | spread | clock ms | tokens/s | calls 1, 2: s | peak MB "
        f"| {result_name} | {OURS} is faster by |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for worker in workers:
        if worker.error:
            lines.append(f"| {worker.name} | {worker.error} |" + " |" * 7)
            continue
        timed, median = worker.cpu_seconds[warm_up:], medians[worker.name]
        result = worker.answer["result"]
        cells = (
            worker.name,
            f"{median * 1e3:.1f}",
            f"{(max(timed) - min(timed)) / median:.0%}",
            f"{statistics.median(worker.seconds[warm_up:]) * 1e3:.1f}",
            f"{worker.answer['tokens'] / median:.0f}",
            ", ".join(f"{seconds:.1f}" for seconds in worker.seconds[:2]),
            f"{worker.answer['peak_mb']:.0f}",
            "" if result is None else f"{result:.4f}",
            f"{median / medians[OURS]:.2f}×" if OURS in medians else "",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(title: str, add_arguments: Callable[[argparse.ArgumentParser], None]) -> None:
    """Runs the script's contenders side by side and prints the table."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--only", help="names of contenders, separated by semicolons")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each contender")
    parser.add_argument("--core", type=int, default=0, help="the processor core to run on")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    add_arguments(parser)
    args = parser.parse_args()
    names = [name.strip() for name in args.only.split(";")] if args.only else list(CONTENDERS)
    if unknown := set(names) - set(CONTENDERS):
        parser.error(f"--only: no {sorted(unknown)}; there are {list(CONTENDERS)}")
    if hasattr(os, "sched_setaffinity"):  # Linux alone has it
        os.sched_setaffinity(0, {args.core})
    if args.worker:
        serve(args)
        return
    print(f"\n## {title}: {' '.join(sys.argv[1:]) or 'defaults'}\n", flush=True)
    warm_up = 2  # the first call traces and compiles, the second may still allocate
    workers = []
    for name in names:
        worker = Worker(name)
        for _ in range(warm_up):
            worker.run_step()
        workers.append(worker)
        print(f"{name}: {worker.error or 'ready'}", file=sys.stderr, flush=True)
    for _ in range(args.repeats):
        for worker in workers:
            worker.run_step()
    print(table(workers, warm_up), flush=True)
    for worker in workers:
        worker.close()
