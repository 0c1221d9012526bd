"""Exact search: the nearest of 100,000 vectors of width 384 for 32 queries at once.

    python benchmarks/search_vectors.py

keras_lm searches in chunks, so that the scores of all vectors never exist at once. Beside it: a
plain matrix product and `top_k` by TensorFlow, a product and `argpartition` by NumPy, and the flat
index of faiss. In the table tokens/s are queries/s. The result, the mean of the best scores, must
be the same.
"""

import argparse

import numpy as np
from driver import Workload, contender, main


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--k", type=int, default=10)


def arrays(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    found = []
    for count in (args.queries, args.vectors):
        vectors = random.standard_normal((count, args.width), np.float32)
        found.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return found[0], found[1]


def tensorflow(args: argparse.Namespace, search) -> Workload:
    import tensorflow as tf

    queries, vectors = arrays(args)
    store = tf.Variable(vectors)
    function = tf.function(lambda queries, k: search(queries, tf.convert_to_tensor(store), k))
    queries, k = tf.constant(queries), tf.constant(args.k)

    def step() -> float:
        return float(np.mean(function(queries, k)[1].numpy()))

    return Workload(step, args.queries, "mean score")


@contender("keras_lm", backend="tensorflow")
def keras_lm(args: argparse.Namespace) -> Workload:
    from keras_lm.tasks.retrieval.vector_search import nearest

    return tensorflow(args, nearest)


@contender("TensorFlow, product and top_k")
def plain(args: argparse.Namespace) -> Workload:
    import tensorflow as tf

    def search(queries, vectors, k):
        found = tf.math.top_k(tf.matmul(queries, vectors, transpose_b=True), k)
        return found.indices, found.values

    return tensorflow(args, search)


@contender("NumPy, product and argpartition")
def numpy(args: argparse.Namespace) -> Workload:
    queries, vectors = arrays(args)

    def step() -> float:
        scores = queries @ vectors.T
        best = np.argpartition(-scores, args.k, axis=1)[:, : args.k]
        return float(np.mean(np.take_along_axis(scores, best, axis=1)))

    return Workload(step, args.queries, "mean score")


@contender("faiss, flat index")
def flat(args: argparse.Namespace) -> Workload:
    import faiss

    faiss.omp_set_num_threads(1)
    queries, vectors = arrays(args)
    index = faiss.IndexFlatIP(args.width)
    index.add(vectors)
    return Workload(
        lambda: float(np.mean(index.search(queries, args.k)[0])), args.queries, "mean score"
    )


if __name__ == "__main__":
    main("Exact search", add_arguments)
