"""The shape of the house: who may import whom, and what no file may do.

The imports are parsed, wherever in a file they stand, so that a lazy import counts as well.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_lm"
MAX_LINES = 400

# What each part of keras_lm may import, in the order of DESIGN: further down, further out.
# Everybody may import `storage`, which knows only files.
MAY_IMPORT = {
    "__init__": set(),
    "storage": set(),
    "config": set(),
    "layers": {"config"},
    # What reads files (n-gram counts, ARPA, word vectors) is data's; models hold the arrays.
    "models": {"config", "data", "layers"},
    "generation": {"config", "layers", "models"},
    "families": {"config"},
    "tokenizers": {"config"},
    "data": {"config", "tokenizers"},
    "metrics": {"config"},
    "training": {"config", "data", "layers"},
    "checkpoints": {"config", "data", "models", "families", "tokenizers"},
    "export": {"config", "layers", "models", "generation"},
}
MAY_IMPORT["tasks"] = set(MAY_IMPORT) - {"__init__"}
MAY_IMPORT["explain"] = MAY_IMPORT["tasks"] | {"tasks"}
MAY_IMPORT["demo"] = MAY_IMPORT["tasks"] | {"tasks"}
MAY_IMPORT["comparison"] = {"tasks"}
MAY_IMPORT["cli"] = {"comparison", "data", "demo", "explain", "tasks", "tokenizers"}
# The version, a literal in `keras_lm/__init__.py`, is the one thing to be had from the top.
MAY_IMPORT_TOP = {"cli"}

# These run on every Keras backend; a shim says inside its functions what Keras cannot say.
BACKEND_FREE = {"config", "storage", "layers", "models", "generation", "families", "metrics"}
BACKEND_FREE |= {"training"}
BACKEND_SHIMS = {"generation/compiled.py"}
BACKENDS = {"tensorflow", "tensorflow_text", "tensorflow_datasets", "jax", "torch"}

UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def part_of(path: Path) -> str:
    """The top-level part of keras_lm a file belongs to: 'layers' for layers/attention.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The modules a file imports, by full name, with the line."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, node.module] if node.module else start)
            for alias in node.names:
                child = f"{base}.{alias.name}"
                yield (child if child in MODULES else base), node.lineno


def run_python(code: str) -> str:
    """Standard output of a fresh Python process that runs `code` in this checkout."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_inwards(path: Path) -> None:
    part = part_of(path)
    assert part in MAY_IMPORT, f"give {part!r} its line in MAY_IMPORT"
    allowed = MAY_IMPORT[part] | {part, "storage"}
    if part in MAY_IMPORT_TOP:
        allowed |= {"__init__"}
    for name, line in imports(path):
        top, _, rest = name.partition(".")
        if top == "keras_lm":
            target = rest.split(".")[0] or "__init__"
            assert target in allowed, f"{path}:{line}: {part} may not import {target}"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if part_of(path) in BACKEND_FREE], ids=module_name
)
def test_models_know_no_backend(path: Path) -> None:
    in_a_shim = path.relative_to(PACKAGE).as_posix() in BACKEND_SHIMS
    top_level = {node.lineno for node in tree(path).body}
    for name, line in imports(path):
        if in_a_shim and line not in top_level:
            continue
        assert name.split(".")[0] not in BACKENDS, f"{path}:{line}: {name} ties it to a backend"


def test_no_cycle_of_modules() -> None:
    graph = {
        name: {target for target, _ in imports(path) if target in MODULES}
        for name, path in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the cycle


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_is_unpickled(path: Path) -> None:
    for name, line in imports(path):
        assert name.split(".")[0] not in UNPICKLERS, f"{path}:{line}: imports {name}"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            value = node.value
            assert isinstance(value, ast.Constant), f"{path}:{node.lineno}: allow_pickle"
            assert value.value is False, f"{path}:{node.lineno}: allow_pickle"


def test_files_are_short_and_say_what_they_are() -> None:
    for path in SOURCES + sorted((ROOT / "tests").rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines < MAX_LINES, f"{path} has {lines} lines"
    for path in SOURCES:
        assert ast.get_docstring(tree(path)), f"{path} has no docstring"
        assert "utils" not in path.stem, f"{path}: name it after what it does"
        assert "utils" not in path.parent.name, f"{path}: name it after what it does"


def test_importing_keras_lm_loads_only_itself_and_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import keras_lm\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    foreign = set(run_python(code).split()) - set(sys.stdlib_module_names)
    assert foreign == {"keras_lm"}


def test_every_module_imports_alone_and_without_what_not_every_system_has() -> None:
    # Each is imported first of all of keras_lm, in one process: TensorFlow is loaded once.
    # tensorflow-text is missing on Windows, the others come with extras.
    code = f"""
import importlib, sys
import tensorflow, keras
extras = ("datasketch", "gguf", "huggingface_hub", "jax", "matplotlib", "rouge_score", "sacrebleu")
for missing in ("tensorflow_text", "torch", *extras):
    sys.modules[missing] = None
for name in {sorted(MODULES)!r}:
    for loaded in [key for key in sys.modules if key.split(".")[0] == "keras_lm"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"import {{name}}: {{error}}")
"""
    run_python(code)
