from .class_confusion import classes_alike as classes_alike
from .duplicates import find_twins as find_twins
from .enough import learning_curve as learning_curve
from .image_quality import look_at as look_at
from .neighbours import nearest as nearest
from .outliers import outlyingness as outlyingness
from .perceptual_hash import hash_of as hash_of
from .suspect_labels import suspect_labels as suspect_labels
