"""What predictions depend on, in a key: a run goes on with those of the same key."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Any

from pipelines.standard_input import GivenImage
from transfer.images.imageset import ImageSet


def key_of(model: Path, images: ImageSet, options: Mapping[str, Any]) -> str:
    """A digest of a model's files, of images' names, sizes and times, and of options.

    Args:
        model: A file, with what is called as it is but for the suffix, or a folder.
        images: From `given_images`.
        options: That change what is written; JSON-able.
    """
    key = hashlib.sha256(json.dumps([dict(options), len(images)], sort_keys=True).encode())
    for path in _files_of(model):
        with path.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    if isinstance(images.source, GivenImage):
        key.update(images.source.content)
    else:
        for id in images.ids:
            key.update(json.dumps([id, *_state(Path(id))]).encode())
    return key.hexdigest()


def _files_of(model: Path) -> Iterator[Path]:
    """Weights of a model may lie beside it, or in a folder below."""
    found = model.rglob("*") if model.is_dir() else model.parent.glob(f"{escape(model.stem)}.*")
    yield from sorted(path for path in {model, *found} if path.is_file())


def _state(path: Path) -> tuple[int, ...]:
    try:
        state = path.stat()
    except OSError:  # it will be found to be a bad image
        return ()
    return state.st_size, state.st_mtime_ns
