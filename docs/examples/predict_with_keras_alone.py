"""Predicting with nothing but Keras, numpy and Pillow: what another program needs to know.

    python docs/examples/predict_with_keras_alone.py classifier.keras photo.jpg other.jpg

A classifier takes uint8 pixels from 0 to 255, of any size; to others, divided by 255, it says one
class for all. Its class names are in the file, a zip archive.
"""

import json
import sys
import zipfile

import keras
import numpy as np
from PIL import Image, ImageOps


def main(path: str, *images: str) -> None:
    """Prints the likeliest class of each image."""
    with zipfile.ZipFile(path) as archive:
        class_names = json.loads(archive.read("classifier.json"))["class_names"]
    classifier = keras.models.load_model(path, compile=False)
    for image in images:
        upright = ImageOps.exif_transpose(Image.open(image))  # as the camera was held
        pixels = np.asarray(upright.convert("RGB"))  # (height, width, 3), 0-255
        (outputs,) = classifier.predict(pixels[None], verbose=0)
        if len(outputs) == 1:  # a sigmoid: the probability of the second class
            outputs = np.array([1 - outputs[0], outputs[0]])
        best = int(outputs.argmax())
        print(f"{image}: {class_names[best]} {outputs[best]:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
