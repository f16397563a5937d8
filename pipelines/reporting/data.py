"""The part of a page on the images: what they are, and what an audit found odd about them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.auditing.findings import BETWEEN, KINDS
from pipelines.knowing import sample
from pipelines.pages.charts import Chart, chart
from pipelines.pages.thumbnails import Thumbnails
from pipelines.reporting.left import Left
from transfer.images.decoding import BadImage

SPLITS = ("train", "val", "test")
FEW_CLASSES = 24
"""Classes of which images are shown; of more the first."""
A_CLASS = 8
"""Images of a class."""
A_KIND = 12
"""Findings of a kind that are shown; audit.csv has all."""
MEASURED = 2_000
"""Images whose sizes are looked at."""


@dataclass(frozen=True)
class OfClass:
    """A class: how many images each split has, and some of them.

    Attributes:
        name: The class's.
        counts: Per split, as `SPLITS`.
        rows: Some of its images.
    """

    name: str
    counts: tuple[int, ...]
    rows: list[int]


@dataclass(frozen=True)
class Found:
    """A finding with its pictures.

    Attributes:
        row: Of the image, None if it is not there any more.
        id: Its id.
        note: What was found.
        given: Its class.
        suggested: What the audit suggests, or nothing.
        others: Rows and ids of the images that it concerns as well.
    """

    row: int | None
    id: str
    note: str
    given: str
    suggested: str
    others: list[tuple[int | None, str]]


def data(left: Left, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """What this part shows; None before there are features."""
    if left.features is None:
        return None
    classes = list(_classes(left, thumbnails))
    return {
        "classes": classes,
        "splits": SPLITS,
        "totals": [int((left.split == split).sum()) for split in SPLITS],
        "sizes": _sizes(left),
        "balance": _balance(classes),
        "audit": _audit(left, thumbnails) if left.audit else None,
    }


def _classes(left: Left, thumbnails: Thumbnails) -> Iterator[OfClass]:
    assert left.features is not None
    names, labels = left.features.class_names, left.features.labels
    for number, name in enumerate(names):
        rows = np.flatnonzero(labels == number)
        counts = tuple(int((left.split[rows] == split).sum()) for split in SPLITS)
        some = rows[sample(rows, A_CLASS)] if number < FEW_CLASSES else ()
        yield OfClass(name, counts, thumbnails.want(some))


def _balance(classes: list[OfClass]) -> Chart:
    from transfer.pictures.classes import plot_balance

    counts = {split: [one.counts[at] for one in classes] for at, split in enumerate(SPLITS)}
    totals = [sum(one.counts) for one in classes]
    alt = f"Images per class, from {min(totals):,} to {max(totals):,}; the table has the numbers"
    return chart(plot_balance, [one.name for one in classes], counts, alt=alt)


def _sizes(left: Left) -> str:
    """The sizes of images in words, by the heads of some files."""
    if left.images is None:
        return ""
    images = left.images
    rows = sample(np.arange(len(images)), MEASURED)
    few = images.subset(rows)
    found = []
    for row in range(len(few)):
        try:
            found.append(few.size(row))
        except BadImage:
            continue
    if not found:
        return ""
    heights, widths = np.array(found).T
    if len(set(found)) == 1:
        return f"{widths[0]} × {heights[0]} pixels"
    low, middle, high = (np.quantile(np.sqrt(heights * widths), q) for q in (0, 0.5, 1))
    of = f" (of {len(few):,} looked at)" if len(few) < len(images) else ""
    return f"{low:.0f} to {high:.0f} pixels wide and high, half below {middle:.0f}{of}"


def _audit(left: Left, thumbnails: Thumbnails) -> dict[str, Any]:
    assert left.audit is not None
    kinds = [
        (words, [f for f in left.findings if f["kind"] == kind]) for kind, words in KINDS.items()
    ]
    return {
        "kinds": [
            (words, len(found), [_found(left, one, thumbnails) for one in found[:A_KIND]])
            for words, found in kinds
            if found
        ],
        "number": left.audit.get("number"),
        "curve": _curve(left.audit.get("number")),
        "images": left.audit["images"],
        "told": left.audit,
    }


def _found(left: Left, finding: Mapping[str, str], thumbnails: Thumbnails) -> Found:
    others = [other for other in finding["others"].split(BETWEEN) if other][:2]
    row = left.row_of.get(finding["id"])
    rows = [left.row_of.get(other) for other in others]
    thumbnails.want(one for one in (row, *rows) if one is not None)
    return Found(
        row,
        finding["id"],
        finding["note"],
        finding["given"],
        finding["suggested"],
        list(zip(rows, others, strict=True)),
    )


def _curve(number: Mapping[str, Any] | None) -> Chart | None:
    if not number:
        return None
    from transfer.pictures.classes import plot_learning_curve

    sizes, accuracies = number["images_per_class"], number["accuracy"]
    now, twice = number["now"], number["twice"]
    alt = (
        f"Accuracy against images per class: {accuracies[0]:.2f} with {sizes[0]:.0f}, about "
        f"{now[1]:.2f} with {now[0]:.0f}; foretold {twice[1]:.2f} ± {twice[2]:.2f} with "
        f"{twice[0]:.0f}"
    )
    return chart(plot_learning_curve, sizes, accuracies, now, twice, alt=alt)
