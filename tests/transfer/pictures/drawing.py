"""Catches the figures that a test draws, and reads from them and their files what they show."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from transfer.pictures import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def drawn_figures() -> Iterator[list["Figure"]]:
    """Yields a list that fills with the figures that are saved, in order."""
    drawn, save = [], figures.save

    def noting(figure, path):
        drawn.append(figure)
        return save(figure, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "save", noting)
        yield drawn


def texts(path):
    elements = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()).strip() for element in elements]


def text_boxes(figure):
    """Every text that is drawn, with the pixels it covers."""
    found = figure.findobj(matplotlib.text.Text)
    return [
        (t.get_text(), t.get_window_extent()) for t in found if t.get_text() and t.get_visible()
    ]


def assert_nothing_is_cut_off(figure):
    drawn = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height


def image_size(path):
    with Image.open(path) as image:
        image.load()
        assert len(image.convert("L").getcolors()) > 1, "the picture is blank"
        return image.size


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def assert_labels_are_apart(figure):
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            # Turned labels are wider boxes than text; their anchors must be a line apart.
            shown = [label for label in labels if label.get_text() and label.get_visible()]
            for one, other in pairwise(shown):
                if one.get_rotation():
                    apart = other.get_window_extent().x1 - one.get_window_extent().x1
                    assert apart > one.get_fontsize() / 72 * figure.dpi, one.get_text()
                else:
                    assert not one.get_window_extent().overlaps(other.get_window_extent())


def assert_texts_are_apart(figure):
    figure_texts = [*figure.texts, *(axes.title for axes in figure.axes)]
    for legend in figure.legends:
        figure_texts += legend.get_texts()
    boxes = [text.get_window_extent() for text in figure_texts if text.get_text()]
    boxes += [label.get_window_extent() for axes in figure.axes if axes.axison
              for label in axes.get_xticklabels()
              if label.get_text() and not label.get_rotation()]  # fmt: skip
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[:i])
