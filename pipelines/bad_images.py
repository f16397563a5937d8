"""What a stage says about files that are no images."""

from collections.abc import Iterable

from pipelines.progress import progress
from transfer.errors import InputError
from transfer.images.decoding import BadImage
from transfer.images.imageset import Batch, ImageSet


class BadImagesError(Exception):
    """A batch holds images that cannot be decoded, which the options do not set aside.

    Attributes:
        stop: One past the last row that has been looked at.
        found: The bad images before it, as far as this process has seen them.
    """

    def __init__(self, stop: int, found: tuple[BadImage, ...]) -> None:
        super().__init__(stop, found)
        self.stop = stop
        self.found = found


def bad_rows(images: ImageSet, batch: Batch) -> dict[int, str]:
    """Row numbers, within the whole set, of a batch's bad images, with the reasons."""
    reasons = {image.id: image.reason for image in batch.bad}
    return {
        row: reasons[images.ids[row]] for row in batch.rows.tolist() if images.ids[row] in reasons
    }


def refusal(images: ImageSet, start: int, found: Iterable[BadImage]) -> InputError:
    """The error that lists all bad images of a set, for the user wants to mend them all at once.

    Args:
        images: The set; its rows from `start` on are decoded here.
        start: One past the last row that has been looked at.
        found: The bad images before it.
    """
    bad = list(found)
    with progress("looking for other bad images", len(images) - start) as update:
        for row, image in images.stream(start):
            update(row + 1 - start)
            if isinstance(image, BadImage):
                bad.append(image)
    lines = [f"  {image}" for image in bad]
    return InputError(
        f"expected images, received {len(bad)} files that cannot be decoded; mend or remove them, "
        "or leave them out with --bad-images skip:\n" + "\n".join(lines)
    )
