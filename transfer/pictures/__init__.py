"""Pictures of results: curves, confusion, predictions, tuning, architectures, leaderboards.

Made with matplotlib, which is imported when the first is drawn.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
