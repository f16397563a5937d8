from .augmentation import AugmentOptions as AugmentOptions
from .training import finetune as finetune
from .unfreezing import unfreeze as unfreeze
