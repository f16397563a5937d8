"""An epoch of head training from the cache against one with the frozen backbone in the loop."""

import numpy as np

from tests.benchmarks.timing import seconds, summary
from transfer.backbones.cuts import TOP
from transfer.backbones.options import BackboneOptions
from transfer.backend.startup import import_keras
from transfer.heads.options import FitOptions, HeadOptions

ROWS = 50_000
LOOP_ROWS = 1_024
"""Images that run through the backbone; the time is scaled to all rows."""
BATCH = 64
REPETITIONS = 3


def epochs() -> list[dict]:
    """InceptionV3 @139, as the starting points train: small images, resized in the graph."""
    import_keras()
    import keras

    from transfer.backbones.resizing import resize_pixels
    from transfer.extraction.extraction import build_extractor
    from transfer.heads.building import build_head
    from transfer.heads.fitting import fit_head

    options = BackboneOptions("InceptionV3", "none", image_size=139, cut=(TOP,))
    _, body = build_extractor(options)
    body.trainable = False
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (LOOP_ROWS, 32, 32, 3), np.uint8)
    features = rng.normal(size=(ROWS, 2048)).astype(np.float32)
    labels = rng.integers(0, 10, ROWS)
    few = features[:1000], labels[:1000]

    inputs = keras.Input((32, 32, 3), dtype="uint8")
    (vectors,) = keras.tree.flatten(body(resize_pixels(inputs, (139, 139)), training=False))
    outputs = keras.layers.Dense(10, activation="softmax")(vectors)
    in_loop = keras.Model(inputs, outputs)
    in_loop.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def loop() -> None:
        in_loop.fit(pixels, labels[:LOOP_ROWS], batch_size=BATCH, verbose=0)

    def cached() -> None:
        head = build_head(HeadOptions(), np.zeros(2048), np.ones(2048), (2048,), 10)
        fit_head(head, features, labels, *few, FitOptions(epochs=1, batch_size=BATCH))

    loop(), cached()
    pairs = [(seconds(loop) * ROWS / LOOP_ROWS, seconds(cached)) for _ in range(REPETITIONS)]
    what = f"an epoch of {ROWS:,} images, InceptionV3 @139: backbone in the loop / from the cache"
    return [summary(f"{what} (the former scaled from {LOOP_ROWS:,})", pairs)]
