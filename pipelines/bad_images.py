"""Files that are no images: found before a backbone runs where that is cheap, said, and listed."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from cache.durable import whole_file
from pipelines.counting import counted
from pipelines.progress import progress
from transfer.errors import InputError
from transfer.images.decoding import BadImage
from transfer.images.imageset import Batch, ImageSet

LIST = "bad-images.csv"
"""In a run's folder: the images that stopped it, or that were set aside, with the reasons."""
FEW = 2_000
"""So many images are decoded in seconds: where a head is bad, damage behind the others is looked
for as well, so that all can be mended at once."""


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


def check_heads(
    images: ImageSet, found: Sequence[BadImage] | None = None, folder: Path | None = None
) -> None:
    """Refuses images that are none by the heads of their files, before anything slow begins.

    Args:
        images: Where they are read in any order, as from a folder.
        found: The bad ones, if the heads were looked at already.
        folder: As `refusal` takes it.

    Raises:
        InputError: As `refusal`. Of more than a few images only those with bad heads are listed.
    """
    if found is None:
        found = images.bad_heads()
    if found and len(images) <= FEW:
        raise refusal(images, 0, (), folder)
    if found:
        raise _refusal(found, "are no images by their first bytes", folder)


def refusal(
    images: ImageSet, start: int, found: Iterable[BadImage], folder: Path | None = None
) -> InputError:
    """The error that lists all bad images of a set, for the user wants to mend them all at once.

    Args:
        images: The set; its rows from `start` on are decoded here.
        start: One past the last row that has been looked at.
        found: The bad images before it.
        folder: Of the run, to keep the list in.
    """
    bad = list(found)
    with progress("looking for other bad images", len(images) - start) as update:
        for row, image in images.stream(start):
            update(row + 1 - start)
            if isinstance(image, BadImage):
                bad.append(image)
    return _refusal(bad, "cannot be decoded", folder)


def _refusal(bad: Sequence[BadImage], what: str, folder: Path | None) -> InputError:
    listed = ""
    if folder:
        listed = f" (listed in {keep_list(folder, [(image.id, image.reason) for image in bad])})"
    lines = [f"  {image}" for image in bad]
    return InputError(
        f"expected images, received {counted(len(bad), 'file')} that {what}{listed}; "
        "mend or remove them, or leave them out with --bad-images skip:\n" + "\n".join(lines)
    )


def keep_list(folder: Path, bad: Sequence[tuple[str, str]]) -> Path:
    """Lists a run's bad images in a file, whole; there is none where no image is bad.

    Args:
        folder: The run's; it is made if there is something to list.
        bad: Their ids and the reasons.

    Returns:
        The path of the list.
    """
    path = folder / LIST
    if not bad:
        path.unlink(missing_ok=True)
        return path
    text = io.StringIO()
    csv.writer(text).writerows([("id", "reason"), *bad])
    content = text.getvalue().encode(errors="backslashreplace")
    if not path.exists() or path.read_bytes() != content:  # else a folder only for reading will do
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    return path
