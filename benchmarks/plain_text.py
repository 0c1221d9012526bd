"""The text of the n-gram benchmarks."""

import argparse
import gzip
import tempfile
from pathlib import Path
from pydoc_data.topics import topics


def plain_text(args: argparse.Namespace) -> tuple[Path, int]:
    """The text as a file of its own, not compressed, and its words."""
    if args.text:
        content = args.text.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    else:
        content = "\n".join(topics.values()).encode()
    path = Path(tempfile.mkdtemp()) / "text.txt"
    path.write_bytes(content)
    return path, len(content.split())
