"""What a feature file was made from, and the key that follows from it."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

FORMAT_VERSION = 1
"""Raised by every change that alters feature values or the file's layout."""


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that can change a value in a feature file, and nothing else.

    Batch size, device, paths, engine and worker counts are left out on purpose: they do not
    change what is computed. No field has a default, so that none can be forgotten.

    Attributes:
        data: Content digest of the source of images, hex.
        limit_per_class: First N images of each class of each given split, or None for all.
        val_fraction: Share of training rows carved out for validation, 0 to 1.
        test_fraction: Share of rows carved out for testing where no test split is given, 0 to 1.
        bad_images: `"stop"` or `"skip"`: `skip` leaves undecodable rows out of the file.
        backbone: Name of the architecture.
        weights: Digest of the backbone's weights.
        alpha: Width multiplier of the backbone.
        image_size: `(height, width)` in pixels that the backbone sees.
        interpolation: How images come to that size.
        preprocessing: Kind and version of the pixel preprocessing.
        cuts: Names or patterns of the layers whose outputs are stored.
        pooling: `"avg"`, `"max"`, `"flatten"` or `"none"`.
        precision: Arithmetic of the forward pass, e.g. `"float32"`.
        dtype: Storage dtype of the features, e.g. `"float32"`.
        keras: `major.minor` of the Keras that ran the backbone.
        format_version: Version of the file format.
    """

    data: str
    limit_per_class: int | None
    val_fraction: float
    test_fraction: float
    bad_images: str
    backbone: str
    weights: str
    alpha: float
    image_size: tuple[int, int]
    interpolation: str
    preprocessing: str
    cuts: tuple[str, ...]
    pooling: str
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
        values["image_size"] = tuple(values["image_size"])
        values["cuts"] = tuple(values["cuts"])
        return cls(**values)

    def differences(self, other: "FeatureSpec") -> dict[str, tuple[Any, Any]]:
        """The fields in which two specs differ: `{name: (self, other)}`."""
        mine, theirs = asdict(self), asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
