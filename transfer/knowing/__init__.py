"""What a classifier knows: which images are unlike all that it learned from, and the nearest ones.

Imports nothing of the project; numpy and scipy alone.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
