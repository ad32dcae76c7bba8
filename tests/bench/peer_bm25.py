"""The peer of retrieval quality: bm25s with English stemming and stop words. Reads the collection on standard input, prints its figures."""

import json
import sys
from math import log2

import bm25s
import Stemmer


def main() -> None:
    given = json.load(sys.stdin)
    names, texts = list(given["documents"]), list(given["documents"].values())
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    ndcg, recall = [], []
    for query_id, query in given["queries"].items():
        tokens = bm25s.tokenize(query, stopwords="en", stemmer=stemmer, show_progress=False)
        found, _ = index.retrieve(tokens, k=100, show_progress=False)
        relevant = set(given["relevant"][query_id])
        hits = [names[place] in relevant for place in found[0]]
        gained = sum(hit / log2(rank + 1) for rank, hit in enumerate(hits[:10], 1))
        ndcg.append(gained / sum(1 / log2(rank + 1) for rank in range(1, min(10, len(relevant)) + 1)))
        recall.append(sum(hits) / len(relevant))
    print(json.dumps({"ndcg": sum(ndcg) / len(ndcg), "recall": sum(recall) / len(recall)}))


main()
