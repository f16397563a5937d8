"""What is wrong with a data set: copies, suspect labels, odd pictures, too few of them.

Sees features, probabilities and pixels as arrays; knows nothing of files, runs or Keras.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
