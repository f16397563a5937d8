"""The feature store: features on disk under a key that says what they were made from."""

from cache.errors import CacheError
from cache.reader import FeatureFile, entry_path
from cache.spec import FORMAT_VERSION, FeatureSpec
from cache.writer import FeatureWriter

__all__ = [
    "FORMAT_VERSION",
    "CacheError",
    "FeatureFile",
    "FeatureSpec",
    "FeatureWriter",
    "entry_path",
]
