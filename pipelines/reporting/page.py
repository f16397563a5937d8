"""The page: its parts joined into one file."""

from colorsys import hls_to_rgb
from typing import Any

from pipelines.pages.rendering import render
from pipelines.pages.thumbnails import Thumbnails
from pipelines.reporting.data import data
from pipelines.reporting.feature_map import feature_map
from pipelines.reporting.left import Left
from pipelines.reporting.mistakes import mistakes
from pipelines.reporting.model import model
from pipelines.reporting.summary import summary
from pipelines.reporting.training import training
from transfer.names import shown

TITLES = {
    "summary": "Summary",
    "data": "Data",
    "training": "Training",
    "mistakes": "Mistakes",
    "map": "Map",
    "model": "Model",
}
"""The parts of a page, in order."""
OKABE_ITO = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#7f7f7f"),
)
"""Colours of the first classes, told apart by colour-blind readers too."""
VIOLET, GOLDEN_ANGLE = 0.77, 0.381966
"""The hue of the next class, as a share of a turn, and how far each further one lies from it."""


def page_of(left: Left) -> str:
    """Makes the page.

    Args:
        left: What the stages left.
    """
    thumbnails = Thumbnails(left.images)
    parts: dict[str, Any] = {
        "summary": summary(left),
        "data": data(left, thumbnails),
        "training": training(left),
        "mistakes": mistakes(left, thumbnails),
        "map": _with_points(feature_map(left, thumbnails)),
        "model": model(left),
    }
    thumbnails.make()
    ids = [] if left.features is None else [shown(id) for id in left.features.ids]
    return render(
        "report",
        "pipelines.reporting",
        "page.html",
        thumbnails,
        {row: ids[row] for row in _on_demand(parts)},
        **parts,
        name=left.folder.name,
        split=left.split_name,
        contents=[(id, title) for id, title in TITLES.items() if parts[id]],
        colours=_colours(len(left.features.class_names) if left.features is not None else 0),
        ids=ids,
    )


def _with_points(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """A map as its template takes it: what is drawn, and what the page's program is told."""
    if told is None:
        return None
    first = next(iter(told["places"].values()))
    points = list(zip(first, told["labels"], told["predicted"], strict=True))
    names = ("names", "rows", "ids", "labels", "predicted", "places")
    return {**told, "points": points, "told": {name: told[name] for name in names}}


def _on_demand(parts: dict[str, Any]) -> list[int]:
    """Rows whose pictures are shown when somebody asks for them."""
    rows = set(parts["map"]["rows"] if parts["map"] else ())
    for one in parts["mistakes"]["models"] if parts["mistakes"] else ():
        cells = [cell for line in one["matrix"] or () for cell in line] + one["pairs"]
        rows.update(row for cell in cells for row in cell.rows)
    return sorted(rows)


def _colours(count: int) -> list[str]:
    hues = [(VIOLET + number * GOLDEN_ANGLE) % 1 for number in range(count - len(OKABE_ITO))]
    more = [
        "#" + bytes(round(255 * part) for part in hls_to_rgb(hue, 0.5, 0.6)).hex() for hue in hues
    ]
    return [*OKABE_ITO, *more][:count]
