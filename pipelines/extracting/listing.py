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
    data = setup.data
    images = setup.images()
    # What cannot be split must not be found out after hours of extraction.
    carve(images.ids, images.labels, images.class_names, images.split, data)
    bad: list[BadImage] = []

    def look(id: str, content: bytes) -> None:
        try:
            check_head(content, id)
        except BadImage as error:
            bad.append(BadImage(error.id, error.reason))

    digests = image_digests(images, setup.file_index(data.data), look)
    if isinstance(images.source, TarFiles):  # a compressed one was looked at already
        members = zip(images.ids, images.members.tolist(), strict=True)
        reasons = images.source.bad_heads
        bad += [BadImage(id, reasons[member]) for id, member in members if member in reasons]
    return Listed(images, digests, tuple(bad))


def list_sound_images(setup: Setup, spec: FeatureSpec) -> Listed:
    """Lists the images, and looks at the heads of those that are not in the store yet.

    Those of an archive were read for their digests. Where parts are there already, an earlier run
    has looked.

    Raises:
        InputError: As `list_images`; if images are none, and the options do not set them aside.
    """
    with waiting("listing the images"):
        listed = list_images(setup)
    if setup.data.bad_images == "skip" or (setup.feature_path(spec).parent / PARTS).exists():
        return listed
    with waiting("looking at the heads of the images"):
        if isinstance(listed.images.source, FolderFiles):
            new = np.flatnonzero(~are_stored(setup.feature_store, listed.digests))
            check_heads(listed.images.subset(new), folder=setup.run_folder)
        else:
            check_heads(listed.images, listed.bad_heads, setup.run_folder)
    return listed
