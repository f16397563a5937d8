"""Where in an image a saved classifier sees its class, in numbers.

python docs/examples/explain_an_image.py classifier.keras photo.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from transfer import explain, load_classifier


def main(path: str, image: str) -> None:
    """Prints the likeliest class, its logit, and where in the image most of it comes from."""
    classifier, card = load_classifier(Path(path))
    pixels = np.asarray(Image.open(image).convert("RGB"))  # (height, width, 3), 0-255
    (found,) = explain(classifier, card, [pixels])
    print(f"{card.class_names[found.explained]} {found.probabilities[found.explained]:.4f}")
    if found.heat is None:
        print("no map: the head is not linear, or its cuts are not averaged over positions")
        return
    rows, columns = found.heat.shape
    row, column = np.unravel_index(found.heat.argmax(), found.heat.shape)
    print(f"logit {found.heat.mean():.4f}, the mean of {rows} x {columns} places")
    print(f"most at {(row + 0.5) / rows:.0%} of the height, {(column + 0.5) / columns:.0%} across")


if __name__ == "__main__":
    main(*sys.argv[1:])
