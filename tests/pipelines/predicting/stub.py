"""A classifier that says of an image how bright it is, in no time, and stops where it is told to.

`python -m tests.pipelines.predicting.stub ROW predict --images ...` is the command line with it;
the process kills itself before the batch of that row.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator

import numpy as np

import pipelines.predict
from pipelines.cli import main
from pipelines.scoring import Scored
from transfer.classifier import ClassifierCard
from transfer.images.decoding import BadImage
from transfer.images.imageset import ImageSet

CARD = ClassifierCard(("a, b", "c"), "Stub", (8, 8), ("top",), "avg")
BATCH = 4


class StubClassifier:
    """Gives the mean of the pixels, batch by batch.

    Args:
        before: Called with the first row of each batch.
    """

    def __init__(self, before: Callable[[int], None] = lambda row: None) -> None:
        self._before = before

    def scored(self, images: ImageSet, start: int = 0) -> Iterator[Scored]:
        assert start % BATCH == 0 or start == len(images)
        for first in range(start, len(images), BATCH):
            self._before(first)
            given = list(images.stream(first, first + BATCH))
            good = [(row, image) for row, image in given if not isinstance(image, BadImage)]
            means = np.array([image.mean() / 255 for _, image in good], np.float32)
            yield Scored(
                np.array([row for row, _ in good], np.int64),
                np.stack([means, 1 - means], axis=1).reshape(-1, 2),
                tuple(image for _, image in given if isinstance(image, BadImage)),
                given[-1][0] + 1,
            )


def in_place_of_others(before: Callable[[int], None]) -> Callable:
    """What stands for `open_classifier`."""
    return lambda path, kind, say, *_: (StubClassifier(before), CARD)


def _kill_at(row: int) -> Callable[[int], None]:
    def kill(first: int) -> None:
        if first >= row:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


if __name__ == "__main__":
    pipelines.predict.open_classifier = in_place_of_others(_kill_at(int(sys.argv[1])))
    main(sys.argv[2:])
