"""The images on which models differ, as a page for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.durable import whole_file
from pipelines.comparing.evaluated import Evaluated
from pipelines.comparing.matching import Matched
from pipelines.comparing.tables import COLUMNS, model_rows, words_of
from pipelines.pages.rendering import render
from pipelines.pages.thumbnails import Thumbnails
from pipelines.setup import Setup
from transfer.comparing import Comparison
from transfer.errors import InputError
from transfer.images.imageset import ImageSet
from transfer.metrics import cross_entropies
from transfer.names import shown

MOST = 48
"""Images of each part; the table has all."""


@dataclass(frozen=True)
class Differing:
    """An image on which two models differ.

    Attributes:
        row: Among the thumbnails, None without a picture.
        id: Its id.
        true: Its class.
        said: Of each of the two its name, the class it said, and the probability of that.
    """

    row: int | None
    id: str
    true: str
    said: list[tuple[str, str, float]]


def write_page(
    path: Path,
    matched: Matched,
    pairs: Mapping[tuple[str, str], Comparison],
    runs: Sequence[Evaluated],
    split: str,
) -> None:
    """Writes a page with the models, what may be concluded, and the images of each pair.

    Args:
        path: Where it goes.
        matched: The images that runs have in common.
        pairs: By the names of two models how they compare.
        runs: In the order in which they were named; the pictures are of the first one's data.
        split: That was evaluated.
    """
    images = _images(runs[0], matched)
    places = {} if images is None else {id: row for row, id in enumerate(images.ids)}
    thumbnails = Thumbnails(images)
    shown_pairs = [
        {"first": one, "second": other, "parts": _parts(one, other, matched, places, thumbnails)}
        for one, other in pairs
    ]
    thumbnails.make()
    page = render(
        "compare",
        "pipelines.comparing",
        "comparison.html",
        thumbnails,
        {},
        names=list(matched.probabilities),
        matched=matched,
        split=split,
        columns=COLUMNS,
        models=model_rows(matched),
        words=words_of(pairs),
        pairs=shown_pairs,
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _images(run: Evaluated, matched: Matched) -> ImageSet | None:
    """Those in common, of a run's data; None, which is said, where they are not to be had."""
    try:
        setup = Setup(run.data, artifacts=run.folder.resolve().parent.parent)
        return setup.images().with_ids(matched.ids.tolist())
    except (InputError, OSError) as error:
        print(f"compare: images are named, not shown: {shown(str(error))}")
        return None


def _parts(
    one: str, other: str, matched: Matched, places: Mapping[str, int], thumbnails: Thumbnails
) -> list[tuple[str, int, list[Differing]]]:
    """What only the one has right, only the other, and what both have wrong differently."""
    said = {name: matched.probabilities[name] for name in (one, other)}
    first, second = (values.argmax(axis=1) for values in said.values())
    losses = np.mean([cross_entropies(values, matched.labels) for values in said.values()], axis=0)
    kinds = {
        f"Only {one} is right": (first == matched.labels) & (second != matched.labels),
        f"Only {other} is right": (second == matched.labels) & (first != matched.labels),
        "Both are wrong, each in its way": (first != second)
        & (first != matched.labels)
        & (second != matched.labels),
    }
    parts = []
    for title, here in kinds.items():
        rows = np.flatnonzero(here)
        rows = rows[np.argsort(-losses[rows], kind="stable")]
        few = [_differing(row, said, matched, places) for row in rows[:MOST].tolist()]
        thumbnails.want(one.row for one in few if one.row is not None)
        parts.append((title, len(rows), few))
    return parts


def _differing(
    row: int, said: Mapping[str, np.ndarray], matched: Matched, places: Mapping[str, int]
) -> Differing:
    names: Any = matched.class_names
    guesses = {name: int(values[row].argmax()) for name, values in said.items()}
    return Differing(
        places.get(matched.ids[row]),
        shown(str(matched.ids[row])),
        str(names[matched.labels[row]]),
        [
            (name, str(names[guess]), float(said[name][row, guess]))
            for name, guess in guesses.items()
        ],
    )
