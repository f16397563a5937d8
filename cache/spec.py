"""What a feature file was made from, and the key that follows from it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

FORMAT_VERSION = 4
"""Raised by every change that alters feature values or the file's layout."""


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that can change a value in a feature file, and nothing else.

    Batch size, device, paths, engine and worker counts are left out on purpose: they do not
    change what is computed. Nor do the shares and groups of validation and test rows, which are
    carved out when a file is read. No field has a default, so that none can be forgotten.

    Attributes:
        data: Content digest of the source of images, hex.
        limit_per_class: First N images of each class of each given split, or None for all.
        bad_images: `"stop"` or `"skip"`: `skip` leaves undecodable rows out of the file.
        decoding: How files become pixels: its version, window and page.
        backbone: Name of the architecture.
        weights: Digest of the backbone's weights.
        alpha: Width multiplier of the backbone.
        image_size: `(height, width)` in pixels that the backbone sees.
        interpolation: How images come to that size.
        preprocessing: Kind and version of the pixel preprocessing.
        cuts: Names or patterns of the layers whose outputs are stored.
        pooling: `"avg"`, `"max"`, `"flatten"` or `"none"`.
        views: Names of the views of each image that the backbone sees, in order.
        precision: Arithmetic of the forward pass, e.g. `"float32"`.
        dtype: Storage dtype of the features, e.g. `"float32"`.
        keras: `major.minor` of the Keras that ran the backbone.
        format_version: Version of the file format.
    """

    data: str
    limit_per_class: int | None
    bad_images: str
    decoding: str
    backbone: str
    weights: str
    alpha: float
    image_size: tuple[int, int]
    interpolation: str
    preprocessing: str
    cuts: tuple[str, ...]
    pooling: str
    views: tuple[str, ...]
    precision: str
    dtype: str
    keras: str
    format_version: int

    @property
    def key(self) -> str:
        """The sha256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, every field written out."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "FeatureSpec":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If fields are missing or unknown.
        """
        values: dict[str, Any] = json.loads(text)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ValueError(f"expected the fields {sorted(names)}, received {sorted(values)}")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**(values | lists))

    def differences(self, other: "FeatureSpec") -> dict[str, tuple[Any, Any]]:
        """The fields in which two specs differ: `{name: (self, other)}`."""
        mine, theirs = asdict(self), asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}

    def differences_in_words(self, cached: "FeatureSpec") -> str:
        """Says how a spec differs from one that is in the store, in one line.

        Digests are shortened: `weights differ: a94030... in the cache, d43c70... now`.
        """
        return "; ".join(
            f"{name.replace('_', ' ')} {'differ' if name.endswith('s') else 'differs'}: "
            f"{_short(theirs)} in the cache, {_short(mine)} now"
            for name, (mine, theirs) in self.differences(cached).items()
        )


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_short, value)) + ")"
    return re.sub(r"[0-9a-f]{64}", lambda digest: digest[0][:6] + "...", str(value))
