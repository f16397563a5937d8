"""The feature store: features on disk under a key that says what they were made from."""

from cache.donors import DAMAGED, Donation, are_stored, find_donation
from cache.errors import CacheError
from cache.lock import entry_lock
from cache.parts import PARTS
from cache.reader import FeatureFile, entry_path
from cache.sealing import finish_sealing, unseal
from cache.spec import FORMAT_VERSION, FeatureSpec
from cache.verify import Verification, verify
from cache.writer import FeatureWriter

__all__ = [
    "DAMAGED",
    "FORMAT_VERSION",
    "PARTS",
    "CacheError",
    "Donation",
    "FeatureFile",
    "FeatureSpec",
    "FeatureWriter",
    "Verification",
    "are_stored",
    "entry_lock",
    "entry_path",
    "find_donation",
    "finish_sealing",
    "unseal",
    "verify",
]
