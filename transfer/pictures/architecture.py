"""A picture of a classifier's architecture, without graphviz."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.backend.layers import leaf_layers
from transfer.pictures import figures

if TYPE_CHECKING:
    import keras
    from matplotlib.axes import Axes

EXPANDED = ("body", "head")
"""Nested models that are drawn layer by layer; every other one is a single box."""

MOST_PARALLEL = 6
MOST_SHAPES = 3

PAGE_MARGIN, ROW_GAP, COLUMN_GAP, LINE_HEIGHT, BOX_PADDING = 0.3, 0.36, 0.22, 0.19, 0.12  # inches
TITLE_SIZE, DETAIL_SIZE = 9.5, 8.5  # points

TRAINED, PARTLY, FROZEN, WITHOUT = "trained", "partly trained", "frozen", "no parameters"
FILLS = {TRAINED: "#f7b267", PARTLY: "#fde3c0", FROZEN: "#bcd9ee", WITHOUT: "#f2f2f2"}


@dataclass(eq=False)
class _Box:
    """A layer, a nested model, or several hidden ones; or a wire that passes a row of boxes.

    Its level is the row it is drawn in: the longest way from an input.
    """

    title: str
    details: list[str]
    kind: str
    parents: list[_Box]
    in_head: bool = False
    is_wire: bool = False
    level: int = field(init=False)

    def __post_init__(self) -> None:
        self.level = 1 + max((parent.level for parent in self.parents), default=-1)


@dataclass(frozen=True)
class _Place:
    """Where a box is on the page, in inches from the top left corner."""

    centre: float
    top: float
    width: float
    height: float


def plot_architecture(model: keras.Model, path: Path) -> Path:
    """Draws a model from input to output: layers, output shapes, parameters, what is trained.

    Nested models are one box each, except those named `body` and `head`, whose layers are shown.
    Of more than six parallel layers, such as the poolings of many cuts, the first five are shown.

    Args:
        model: A functional or sequential Keras model that is built.
        path: Where the picture goes.

    Returns:
        The path.

    Raises:
        ValueError: If the model is neither functional nor sequential, or is not built.
    """
    boxes, _ = _read_boxes(model, [], in_head=False)
    rows = _with_wires(_rows(_merge_parallel(boxes)))
    places, width, height = _arrange(rows)
    figure = figures.make(width, height, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    title = f"{model.name}: {_parameters(model)}"
    axes.text(width / 2, PAGE_MARGIN, title, fontsize=11, weight="bold", **_CENTRED)
    _draw_legend(axes, width)
    _draw_head_frame(axes, places)
    for box, place in places.items():
        _draw_box(axes, box, place)
        for parent in box.parents:
            _draw_edge(axes, places[parent], place, arrow=not box.is_wire)
    return figures.save(figure, path)


def _read_boxes(
    model: keras.Model, inputs: Sequence[_Box], *, in_head: bool
) -> tuple[list[_Box], list[_Box]]:
    """Turns a model's graph into boxes, expanding `body` and `head`.

    Args:
        model: The model.
        inputs: What feeds its inputs; none for the outermost model, whose inputs become boxes.
        in_head: Whether the model is, or is inside, the head.

    Returns:
        All boxes, each after its parents; and the box of each output.
    """
    model = _as_functional(model)
    config = model.get_config()
    layers = {layer.name: layer for layer in model.operations}
    input_names = _tensor_names(config["input_layers"])
    boxes: list[_Box] = []
    outputs: dict[str, list[_Box]] = {}  # of each layer, the box of each output tensor
    for entry in config["layers"]:
        name = entry["name"]
        layer = layers[name]
        parents = list(dict.fromkeys(
            outputs[source][min(index, len(outputs[source]) - 1)]
            for source, index in _sources(entry["inbound_nodes"])
        ))  # fmt: skip
        if name in input_names and inputs:
            outputs[name] = [inputs[input_names.index(name)]]
        elif name in EXPANDED and hasattr(layer, "layers"):
            inner, outputs[name] = _read_boxes(layer, parents, in_head=in_head or name == "head")
            boxes += inner
        else:
            box = _Box(name, _details(layer), _kind(layer), parents, in_head)
            boxes.append(box)
            outputs[name] = [box]
    return boxes, [outputs[name][0] for name in _tensor_names(config["output_layers"])]


def _as_functional(model: keras.Model) -> keras.Model:
    import keras

    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not hasattr(model, "operations"):
        raise ValueError(
            "expected a functional model or a sequential one that is built, "
            f"received {type(model).__name__} {model.name!r}"
        )
    return model


def _tensor_names(tensors: Any) -> list[str]:
    """The layer names in a config's `input_layers`: `[name, node, index]`, or a nest of such."""
    if isinstance(tensors, Mapping):
        tensors = list(tensors.values())
    if tensors and isinstance(tensors[0], str):
        return [tensors[0]]
    return [name for tensor in tensors for name in _tensor_names(tensor)]


def _sources(inbound_nodes: Any) -> list[tuple[str, int]]:
    """The (layer name, tensor index) of every tensor in the arguments of a layer's calls."""
    if isinstance(inbound_nodes, Mapping):
        if inbound_nodes.get("class_name") == "__keras_tensor__":
            name, _, index = inbound_nodes["config"]["keras_history"]
            return [(name, index)]
        return _sources(list(inbound_nodes.values()))
    if isinstance(inbound_nodes, list | tuple):
        return list(chain.from_iterable(map(_sources, inbound_nodes)))
    return []


def _details(layer: Any) -> list[str]:
    """What stands under the name: type, output shapes, parameters, which layers inside trained."""
    import keras

    shapes = [_shape(tensor.shape) for tensor in keras.tree.flatten(layer.output)]
    shown = ", ".join(shapes[:MOST_SHAPES])
    left = len(shapes) - MOST_SHAPES
    shown += f", … {left} more" if left > 0 else ""
    if hasattr(layer, "layers"):
        lines = [f"model of {len(layer.layers)} layers", f"→ {shown}"]
    else:
        lines = [f"{type(layer).__name__} → {shown}"]
    lines += [_parameters(layer)] if getattr(layer, "weights", []) else []
    trains = _trains(layer)
    trained = [name for name, trained in trains.items() if trained]
    if 0 < len(trained) < len(trains):
        ends = dict.fromkeys([trained[0], trained[-1]])
        lines.append(f"trained: {' to '.join(ends)}")
        lines.append(f"{len(trained)} of {len(trains)} layers with parameters")
    return lines


def _shape(shape: Sequence[int | None]) -> str:
    """A tensor's shape without the batch axis: `96 × 96 × 3`."""
    return " × ".join("any" if size is None else f"{size}" for size in shape[1:]) or "one value"


def _parameters(layer: Any) -> str:
    trained = sum(math.prod(weight.shape) for weight in layer.trainable_weights)
    count = layer.count_params()
    return f"{count:,} parameters" + (f", {trained:,} trained" if trained != count else "")


def _trains(layer: Any) -> dict[str, bool]:
    """Whether they train, of the layers inside that have parameters, or of the layer itself."""
    return {
        inner.name: bool(inner.trainable_weights)
        for inner in leaf_layers(layer)
        if getattr(inner, "weights", [])
    }


def _kind(layer: Any) -> str:
    trained = set(_trains(layer).values())
    if not trained:
        return WITHOUT
    if len(trained) == 2:
        return PARTLY
    return TRAINED if trained == {True} else FROZEN


def _rows(boxes: Sequence[_Box]) -> list[list[_Box]]:
    rows: list[list[_Box]] = [[] for _ in range(1 + max(box.level for box in boxes))]
    for box in boxes:
        rows[box.level].append(box)
    return rows


def _merge_parallel(boxes: Sequence[_Box]) -> list[_Box]:
    """Puts one box in the place of all but the first few of a row that is too long."""
    merged: dict[_Box, _Box] = {}
    for row in _rows(boxes):
        for box in row:
            box.parents = list(dict.fromkeys(merged[parent] for parent in box.parents))
            merged[box] = box
        if len(row) > MOST_PARALLEL:
            hidden = row[MOST_PARALLEL - 1 :]
            kinds = {box.kind for box in hidden}
            parents = list(dict.fromkeys(chain.from_iterable(box.parents for box in hidden)))
            more = _Box(f"… {len(hidden)} more", [], kinds.pop() if len(kinds) == 1 else PARTLY,
                        parents, all(box.in_head for box in hidden))  # fmt: skip
            merged |= dict.fromkeys(hidden, more)
    return list(dict.fromkeys(merged.values()))


def _with_wires(rows: list[list[_Box]]) -> list[list[_Box]]:
    """Gives every edge that passes rows a place in each of them, so that it crosses no box.

    Then sorts each row by where its parents are, so that edges cross little.
    """
    for level, row in enumerate(rows):
        for box in row:
            for number, parent in enumerate(box.parents):
                for passed in range(parent.level + 1, level):
                    parent = _Box("", [], WITHOUT, [parent], is_wire=True)
                    rows[passed].append(parent)
                box.parents[number] = parent
    for above, row in pairwise(rows):
        row.sort(key=lambda box: np.mean([above.index(parent) for parent in box.parents]))
    return rows


def _arrange(rows: Sequence[Sequence[_Box]]) -> tuple[dict[_Box, _Place], float, float]:
    """Sets every row in the middle of the page; returns places, page width, page height."""
    widths = {box: _box_width(box) for box in chain.from_iterable(rows)}
    # One width for all parallel boxes puts those of neighbouring rows below each other.
    parallel = [box for row in rows if len(row) > 1 for box in row if not box.is_wire]
    widths |= dict.fromkeys(parallel, max((widths[box] for box in parallel), default=0))
    row_widths = [sum(widths[box] + COLUMN_GAP for box in row) - COLUMN_GAP for row in rows]
    page_width = max(6.0, max(row_widths) + 2 * (PAGE_MARGIN + COLUMN_GAP))

    places: dict[_Box, _Place] = {}
    top = PAGE_MARGIN + 0.75
    for row, row_width in zip(rows, row_widths, strict=True):
        height = max(1 + len(box.details) for box in row) * LINE_HEIGHT + 2 * BOX_PADDING
        left = (page_width - row_width) / 2
        for box in row:
            places[box] = _Place(left + widths[box] / 2, top, widths[box], height)
            left += widths[box] + COLUMN_GAP
        top += height + ROW_GAP
    return places, page_width, top - ROW_GAP + PAGE_MARGIN


def _box_width(box: _Box) -> float:
    widths = [figures.text_width(line, DETAIL_SIZE) for line in box.details]
    widths.append(figures.text_width(box.title, TITLE_SIZE, "bold"))
    return max(widths) + 2 * BOX_PADDING


_CENTRED: dict[str, Any] = {
    "horizontalalignment": "center",
    "verticalalignment": "center",
    "parse_math": False,
}
_LINE: dict[str, Any] = {
    "color": "#555555",
    "linewidth": 1.0,
    "zorder": 1,
    "solid_capstyle": "round",
}


def _draw_box(axes: Axes, box: _Box, place: _Place) -> None:
    if box.is_wire:
        axes.plot([place.centre] * 2, [place.top, place.top + place.height], **_LINE)
        return
    _draw_rectangle(axes, place, facecolor=FILLS[box.kind], edgecolor="#555555", zorder=2)
    middle = place.top + place.height / 2 - len(box.details) * LINE_HEIGHT / 2
    axes.text(place.centre, middle, box.title, fontsize=TITLE_SIZE, weight="bold", **_CENTRED)
    for number, line in enumerate(box.details, start=1):
        y = middle + number * LINE_HEIGHT
        axes.text(place.centre, y, line, fontsize=DETAIL_SIZE, **_CENTRED)


def _draw_rectangle(axes: Axes, place: _Place, **style: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (place.centre - place.width / 2, place.top)
    rounded = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch(corner, place.width, place.height, boxstyle=rounded, **style))


def _draw_edge(axes: Axes, parent: _Place, child: _Place, *, arrow: bool) -> None:
    """Draws a line down, across in the middle of the gap, and down."""
    bottom, middle = parent.top + parent.height, child.top - ROW_GAP / 2
    xs = [parent.centre, parent.centre, child.centre, child.centre]
    axes.plot(xs, [bottom, middle, middle, child.top], **_LINE)
    if arrow:
        axes.fill(child.centre + np.array([-0.045, 0.045, 0]), child.top - np.array([0.1, 0.1, 0]),
                  color=_LINE["color"], linewidth=0)  # fmt: skip


def _draw_head_frame(axes: Axes, places: Mapping[_Box, _Place]) -> None:
    inside = [place for box, place in places.items() if box.in_head]
    if not inside:
        return
    left = min(place.centre - place.width / 2 for place in inside) - 0.7
    right = max(place.centre + place.width / 2 for place in inside) + 0.7
    top, bottom = inside[0].top - 0.13, inside[-1].top + inside[-1].height + 0.13
    frame = _Place((left + right) / 2, top, right - left, bottom - top)
    _draw_rectangle(axes, frame, facecolor="none", edgecolor="#999999", linestyle="--", zorder=0)
    axes.text(left + 0.1, top + 0.1, "head", fontsize=DETAIL_SIZE, color="#666666",
              style="italic", verticalalignment="top")  # fmt: skip


def _draw_legend(axes: Axes, page_width: float) -> None:
    step = 1.4
    left = page_width / 2 - step * len(FILLS) / 2
    for number, (kind, fill) in enumerate(FILLS.items()):
        swatch = _Place(left + step * number + 0.2, PAGE_MARGIN + 0.3, 0.22, 0.16)
        _draw_rectangle(axes, swatch, facecolor=fill, edgecolor="#555555")
        axes.text(swatch.centre + 0.18, swatch.top + 0.08, kind, fontsize=DETAIL_SIZE,
                  verticalalignment="center")  # fmt: skip
