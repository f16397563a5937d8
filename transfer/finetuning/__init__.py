"""Fine-tuning: choosing what trains, changing images at random, training end to end.

Imports heads, backbones, images and the backend.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
