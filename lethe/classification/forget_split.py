"""Selects the forget set of a task by a list of entities, by clusters of embeddings or by a column."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.core.errors import StageError
from lethe.text.passages import draw

if TYPE_CHECKING:
    import numpy as np

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle")  # suffixes of files that run code when they are loaded


def entity_patterns(names: Sequence[str], match: str) -> list[str]:
    """One regular expression per name, for text of any case. word: not inside a longer word; substring: anywhere."""
    gaps = [r"\s+".join(re.escape(part) for part in name.split()) for name in names]
    return [rf"(?<!\w){gap}(?!\w)" if match == "word" else gap for gap in gaps]


def mentions(text: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns occurs in the text; case does not matter."""
    return any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def by_entities(texts: Sequence[str], names: Sequence[str], match: str) -> list[bool]:
    """For each text whether it mentions a name."""
    whole = re.compile("|".join(entity_patterns(names, match)), re.IGNORECASE)
    return [bool(whole.search(text)) for text in texts]


def by_clusters(
    texts: Sequence[str], embedding: str, model: Path, count: int, forget: Sequence[int], seed: int
) -> list[bool]:
    """For each text whether it is in one of the clusters `forget` of `count`.

    embedding: tfidf, or sentence-transformers by the model folder. Raises StageError if there are fewer texts than
    clusters.
    """
    if count > len(texts):
        raise StageError(
            f"params.yaml: split.clusters.count: expected at most {len(texts)}, the number of rows, got {count}"
        )
    vectors = tfidf_vectors(texts) if embedding == "tfidf" else sentence_vectors(texts, model)
    return [number in forget for number in cluster_numbers(vectors, count, seed)]


def check_sides(forget: Sequence[bool], table: str, rule: str) -> None:
    """Raise StageError if the rule selects no row of the table or every row."""
    if all(forget) or not any(forget):
        found = f"all {len(forget)} rows" if all(forget) else f"none of {len(forget)} rows"
        raise StageError(
            f"{table}: expected rows to forget and rows to retain, got a split.{rule} that selects {found}"
        )


def cluster_numbers(vectors: np.ndarray, count: int, seed: int) -> list[int]:
    """k-means of the rows of [N, d] by cosine distance; 0 is the largest cluster, then by size and first row.

    Rows are scaled to length one: their squared Euclidean distance is then twice the cosine distance. One thread: with
    two, sums have another order.
    """
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found = KMeans(count, n_init=4, random_state=seed).fit_predict(normalize(vectors))
    first = [
        int(np.flatnonzero(found == number)[0]) if (found == number).any() else len(found) for number in range(count)
    ]
    order = sorted(range(count), key=lambda number: (-int((found == number).sum()), first[number]))
    rank = {number: place for place, number in enumerate(order)}
    return [rank[int(number)] for number in found]


def tfidf_vectors(texts: Sequence[str]) -> np.ndarray:
    """TF-IDF of words, reduced to at most 100 dimensions (latent semantic analysis). Returns float64 [N, d]."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from threadpoolctl import threadpool_limits

    counts = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(texts)
    dimensions = min(100, counts.shape[1] - 1, len(texts) - 1)
    if dimensions < 2:
        return counts.toarray()
    with threadpool_limits(1):
        return TruncatedSVD(dimensions, random_state=0).fit_transform(counts)


def sentence_vectors(texts: Sequence[str], model: Path) -> np.ndarray:
    """Embeddings by a sentence-transformers model folder, each of length 1: float32 [N, d].

    Only safetensors are read; code in the folder is never run. Raises StageError if the package is not installed or the
    folder holds no such model.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise StageError(
            "params.yaml: split.clusters.embedding: expected tfidf or the package sentence-transformers, which is "
            "missing; `pip install 'lethe-unlearning[embeddings]'`"
        ) from None
    if not (model / "modules.json").exists():
        raise StageError(f"{model}: expected a model folder, got no modules.json; see split.clusters.model")
    for pickled in sorted(path for path in model.rglob("*") if path.suffix in PICKLED):
        raise StageError(f"{pickled}: expected safetensors only, got a pickle (pickled weights are never loaded)")
    try:
        embedder = SentenceTransformer(
            str(model), local_files_only=True, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (ValueError, OSError) as error:
        raise StageError(
            f"{model}: not loadable by sentence-transformers: {' '.join(str(error).split())}; see split.clusters.model"
        ) from None
    return embedder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def sample_test_rows(
    texts: Sequence[str], forget: Sequence[bool], together: Sequence[int], share: float, seed: int
) -> set[int]:
    """Indices of the test rows, sampled from each set alone; a group with rows in both sets counts as one in each.

    forget: for each text whether it is in the forget set. together: for each text its group of near-duplicates.
    """
    test: set[int] = set()
    for side in (True, False):
        own = [index for index, found in enumerate(forget) if found == side]
        drawn = drawn_for_test([texts[i] for i in own], [together[i] for i in own], share, seed)
        test |= {own[index] for index in drawn}
    return test


def drawn_for_test(texts: Sequence[str], groups: Sequence[int], share: float, seed: int) -> set[int]:
    """Indices of the test rows: whole groups in random order, skipping those that would exceed the share.

    At most floor(share * N) rows; exactly that number, as in the paper, if each row is its own group. A group's place
    in the order depends on its first text and the seed alone.
    """
    wanted = math.floor(round(share * len(texts), 6))
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    chosen: set[int] = set()
    for own in sorted(members.values(), key=lambda own: (draw(texts[own[0]], seed), own[0])):
        if len(chosen) + len(own) <= wanted:
            chosen.update(own)
    return chosen
