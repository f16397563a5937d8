"""Transfer learning on frozen ImageNet backbones; `import transfer` is the API for notebooks.

Names are loaded when they are first used, so that this import costs nothing.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "images.sources": ("DataOptions", "load"),
    "images.imageset": ("BadImage", "ImageSet"),
    "backbones.building": (
        *("BACKBONES", "Backbone", "BackboneOptions", "build_backbone", "cut_backbone"),
        *("find_backbone", "resolve_cuts"),
    ),
    "extraction.extraction": ("build_extractor", "extract"),
    "heads.building": ("HeadOptions", "build_head", "feature_statistics"),
    "heads.fitting": ("FitOptions", "fit_head"),
    "heads.samples": ("Samples",),
    "heads.bank": ("Design", "HeadBank"),
    "finetuning.augmentation": ("AugmentOptions",),
    "finetuning.training": ("finetune", "unfreeze"),
    "classifier": (
        *("ClassifierCard", "as_probabilities", "build_classifier", "feature_body"),
        *("load_classifier", "save_classifier"),
    ),
    "extraction.keras_engine": ("KerasEngine",),
    "metrics": ("evaluate",),
    "errors": ("InputError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'transfer' has no attribute {name!r}")
    return getattr(import_module(f"transfer.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
