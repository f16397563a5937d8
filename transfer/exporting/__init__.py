"""Exporting: classifiers in the formats of other runtimes, and reading these.

Imports the classifier, backbones, images and the backend; of runtimes only the one that is used.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
