"""Whether there are enough images: how accurate a linear head is with more and more of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cache import FeatureFile
from pipelines.auditing.reading import read_flat
from pipelines.machine.memory import in_words
from pipelines.progress import progress
from pipelines.samples import memory_for
from pipelines.setup import Setup
from transfer.auditing.enough import Curve, learning_curve
from transfer.images.splits import assign_folds

FOLDS = 5
MOST_NUMBERS = 100_000_000
"""Features of all images together: of more, cuts at the bottom are left out."""
COPIES = 3
"""Of the features, in memory while heads are fitted."""


def measure(
    setup: Setup,
    features: FeatureFile,
    split: np.ndarray,
    groups: Sequence[str] | None,
    cuts: tuple[str, ...],
) -> Curve | None:
    """Measures accuracy against number of images, by training and validation images alone.

    Args:
        setup: Tells how much memory there is.
        features: Of the images.
        split: `(rows,)` of "train", "val" and "test".
        groups: `(rows,)`, or None; those of one are on one side.
        cuts: Those that the run's head sees; the topmost if it has none.

    Returns:
        None where there are too few images; says so where there is too little memory.
    """
    rows = np.flatnonzero(split != "test")
    cuts = topmost(features, cuts or features.cuts[-1:], len(rows))
    needed = COPIES * 4 * len(rows) * int(np.prod(features.joined_shape(cuts)))
    if needed > (budget := memory_for(setup.memory_budget)):
        print(
            f"audit: how many images are enough takes {in_words(needed)} of memory, there are "
            f"{in_words(budget)}; see --memory-budget"
        )
        return None
    values = read_flat(features, rows, cuts)
    widths = [features.shape(cut)[-1] for cut in cuts]
    if sum(widths) != values.shape[1]:  # features with positions
        widths = [values.shape[1]]
    of_rows = None if groups is None else np.array(groups, object)[rows]
    labels, names = features.labels[rows], features.class_names
    folds = assign_folds(features.ids[rows], labels, names, FOLDS, of_rows)
    with progress("learning from fewer images", 1, "heads") as update:
        return learning_curve(
            values, widths, labels, len(names), folds, lambda done, of: update(done / of)
        )


def topmost(features: FeatureFile, cuts: tuple[str, ...], images: int) -> tuple[str, ...]:
    """As many cuts from the top as are looked at in a minute, at least one; says if not all are."""
    widths = [int(np.prod(features.joined_shape((cut,)))) for cut in reversed(cuts)]
    count = max(1, int((np.cumsum(widths) * images <= MOST_NUMBERS).sum()))
    if count < len(cuts):
        of = "cut" if count == 1 else f"{count} cuts"
        print(f"audit: how many images are enough is told by the topmost {of} of {len(cuts)}")
    return cuts[-count:]


def say_number(curve: Curve | None) -> dict[str, Any] | None:
    """Says what twice as many images would bring.

    Returns:
        For `audit.json`: sizes, accuracies with their standard errors, and what is foretold of the
        images that there are and of twice as many: how many, accuracy and standard error.
    """
    if curve is None:
        print("audit: too few images to say what more of them would bring")
        return None
    now, twice = curve.at(curve.now), curve.at(2 * curve.now)
    print(
        f"audit: twice as many images ({2 * curve.now:,.0f} per class): accuracy about "
        f"{twice[0]:.2f} +- {max(twice[1], 0.005):.2f}, with those there are about {now[0]:.2f}"
    )
    return {
        "images_per_class": curve.sizes.tolist(),
        "accuracy": curve.accuracies.tolist(),
        "accuracy_error": curve.errors.tolist(),
        "now": [curve.now, *now],
        "twice": [2 * curve.now, *twice],
    }
