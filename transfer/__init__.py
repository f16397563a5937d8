"""Transfer learning on frozen ImageNet backbones; `import transfer` is the API for notebooks.

Names are loaded when they are first used, as `__init__.pyi` lists them, so that this import costs
nothing. Each room's own `__init__.py` says what it is for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
