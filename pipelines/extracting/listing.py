"""The images of an entry of the store, and whether they are images, before a backbone is built."""

from dataclasses import dataclass

import numpy as np

from cache import PARTS, FeatureSpec, are_stored
from pipelines.bad_images import check_heads
from pipelines.progress import waiting
from pipelines.setup import Setup
from transfer.images.archives import FolderFiles, TarFiles
from transfer.images.decoding import BadImage, check_head
from transfer.images.digests import image_digests
from transfer.images.imageset import ImageSet
from transfer.images.sources import carve


@dataclass(frozen=True)
class Listed:
    """All images of an entry.

    Attributes:
        images: In the order of its rows.
        digests: `(rows, 32)` uint8, the sha256 of each.
        bad_heads: Those whose head was read for the digest, and is none of an image.
    """

    images: ImageSet
    digests: np.ndarray
    bad_heads: tuple[BadImage, ...]


def list_images(setup: Setup) -> Listed:
    """Lists the images, and digests those that changed.

    Raises:
        InputError: If they cannot be used as the options say.
    """
    return _digested(setup, setup.images())


def _digested(setup: Setup, images: ImageSet) -> Listed:
    digests, reasons = _digests(setup, images)
    bad = tuple(BadImage(id, reasons[id]) for id in images.ids if id in reasons)
    return Listed(images, digests, bad)


def _digests(setup: Setup, images: ImageSet) -> tuple[np.ndarray, dict[str, str]]:
    """The digests, and why images are none by the heads that were looked at, by id."""
    source, files = images.source, setup.file_index(setup.data.data)
    if isinstance(source, TarFiles) and source.digests is not None:
        members = zip(images.ids, images.members.tolist(), strict=True)
        heads = {
            id: source.bad_heads[member] for id, member in members if member in source.bad_heads
        }
        return image_digests(images), heads
    if isinstance(source, np.ndarray | FolderFiles):
        return image_digests(images, files), {}
    index = setup.image_index(images.ids)
    if known := index.load():
        return known
    bad: dict[str, str] = {}

    def look(id: str, content: bytes) -> None:
        try:
            check_head(content, id)
        except BadImage as error:
            bad[id] = error.reason

    digests = image_digests(images, files, look)
    if setup.image_index(images.ids) == index:  # else it changed while it was read
        index.save(digests, bad)
        return index.load() or (digests, bad)  # from the disk, which processes share
    return digests, bad


def list_sound_images(setup: Setup, spec: FeatureSpec) -> Listed:
    """Lists the images, and looks at the heads of those that are not in the store yet.

    Those of an archive were read for their digests. Where parts are there already, an earlier run
    has looked.

    Raises:
        InputError: As `list_images`; if images are none, and the options do not set them aside.
    """
    with waiting("listing the images"):
        images = setup.images()
        # What cannot be split must not be found out after hours of extraction.
        carve(images.ids, images.labels, images.class_names, images.split, setup.data)
        listed = _digested(setup, images)
    if setup.data.bad_images == "skip" or (setup.feature_path(spec).parent / PARTS).exists():
        return listed
    with waiting("looking at the heads of the images"):
        if isinstance(listed.images.source, FolderFiles):
            new = np.flatnonzero(~are_stored(setup.feature_store, listed.digests))
            check_heads(listed.images.subset(new), folder=setup.run_folder)
        else:
            check_heads(listed.images, listed.bad_heads, setup.run_folder)
    return listed
