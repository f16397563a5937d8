from .decoding import BadImage as BadImage
from .decoding import decode as decode
from .decoding import resize as resize
from .imageset import Batch as Batch
from .imageset import ImageSet as ImageSet
from .sources import DataOptions as DataOptions
from .sources import load as load
