"""Images: where they come from, decoding them, and which split each is in.

Imports nothing of `transfer` but errors, and no Keras.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
