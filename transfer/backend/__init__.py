"""What Keras's backends differ in, and the parts of Keras that it does not offer in public.

The only room that may import TensorFlow, JAX or PyTorch.
Names are loaded when they are first used, as `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
