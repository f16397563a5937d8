from .augmentation import AugmentOptions as AugmentOptions
from .options import FinetuneOptions as FinetuneOptions
from .tuning import LossModel as LossModel
from .tuning import Tuner as Tuner
from .unfreezing import unfreeze as unfreeze
