"""Choosing a linear head by what it says of images that it has not seen.

Imports heads and metrics; knows nothing of images.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
