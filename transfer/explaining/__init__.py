"""Why a classifier says what it says: where in an image the evidence for a class lies.

Imports classifier and backbones.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
