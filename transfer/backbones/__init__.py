"""Frozen backbones: the table, weights, building, cuts, and the way from pixels to features.

Imports images and the backend. Table, options and cuts import no Keras.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
