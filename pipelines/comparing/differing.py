"""The images on which models differ, as a table for people and programs."""

import csv
import io
from pathlib import Path

import numpy as np

from cache.durable import whole_file
from pipelines.comparing.matching import Matched
from transfer.metrics import cross_entropies
from transfer.names import readable


def write_differing(path: Path, matched: Matched) -> int:
    """Writes a row for each image that models put into different classes, the hardest first.

    How hard an image is, is the mean log loss of all models. Columns: `id`, `class`, and for each
    model the class it said and the probability it gave to it.

    Returns:
        The number of rows.
    """
    said = matched.probabilities
    classes = np.stack([values.argmax(axis=1) for values in said.values()])
    losses = np.mean([cross_entropies(values, matched.labels) for values in said.values()], axis=0)
    differing = np.flatnonzero((classes != classes[0]).any(axis=0))
    hardest = differing[np.argsort(-losses[differing], kind="stable")]
    names = [readable(name) for name in matched.class_names]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(
        ["id", "class", *(column for model in said for column in (model, f"{model} probability"))]
    )
    for row in hardest:
        cells = [readable(matched.ids[row]), names[matched.labels[row]]]
        for of_model, values in zip(classes, said.values(), strict=True):
            cells += [names[of_model[row]], f"{values[row, of_model[row]]:.4f}"]
        table.writerow(cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(text.getvalue().encode())
    return len(hardest)
