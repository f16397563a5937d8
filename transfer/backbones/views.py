"""Views: the same image seen mirrored or closer, always the same way.

Importing this file imports no Keras.
"""

from typing import TYPE_CHECKING

from transfer.errors import InputError

if TYPE_CHECKING:
    import keras

KEPT = 7 / 8
"""Share of height and width that a crop keeps. Source: Krizhevsky et al. 2012 (AlexNet), who
average ten views of 224 of 256 pixels: four corners and the centre, and these mirrored."""

_PLACES: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "top-left": (0, 0),
    "top-right": (0, 1),
    "bottom-left": (1, 0),
    "bottom-right": (1, 1),
}
"""How much of what each crop cuts away lies above it, and how much to its left."""

VIEWS: tuple[str, ...] = ("identity", "flip", *_PLACES, *(f"{place}+flip" for place in _PLACES))
"""Every view's name; flip mirrors left and right."""


def check_views(views: tuple[str, ...]) -> tuple[str, ...]:
    """Checks names of views.

    Args:
        views: Names out of `VIEWS`, in any order; an entry may hold several, split by commas.

    Returns:
        One name per entry, in the given order.

    Raises:
        InputError: If there is none, one is unknown, or one is there twice.
    """
    names = tuple(name.strip() for entry in views for name in entry.split(","))
    if not names:
        raise InputError(f"views: expected at least one of {', '.join(VIEWS)}, received none")
    for name in names:
        _check_view(name)
    if len(set(names)) < len(names):
        raise InputError(f"views: expected each view once, received {', '.join(names)}")
    return names


def _check_view(view: str) -> None:
    if view not in VIEWS:
        raise InputError(f"views: expected some of {', '.join(VIEWS)}, received {view!r}")


def view_pixels(pixels: "keras.KerasTensor", view: str) -> "keras.KerasTensor":
    """Adds one view to a functional model.

    A crop keeps 7/8 of height and width, rounded, and is resized back, bilinear. Built from
    stock Keras layers and operations, so that a saved model loads in safe mode.

    Args:
        pixels: `(batch, height, width, 3)` float32, of known height and width, in any range.
        view: One of `VIEWS`.

    Returns:
        The same shape, dtype and range.

    Raises:
        InputError: If the view is unknown.
    """
    import keras

    _check_view(view)
    place = view.removesuffix("flip").removesuffix("+")
    if place in _PLACES:
        height, width = pixels.shape[1:3]
        above, left = _PLACES[place]
        crop = keras.layers.Cropping2D((_cut_away(height, above), _cut_away(width, left)))
        pixels = keras.layers.Resizing(height, width, antialias=True)(crop(pixels))
    return keras.ops.flip(pixels, axis=2) if view.endswith("flip") else pixels


def _cut_away(side: int, share_before: float) -> tuple[int, int]:
    """Pixels that a crop loses before and behind it, along one side."""
    lost = side - round(side * KEPT)
    before = int(lost * share_before)
    return before, lost - before
