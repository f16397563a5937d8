from .engines import Engine as Engine
from .engines import build_engine as build_engine
from .extraction import build_extractor as build_extractor
from .extraction import extract as extract
from .keras_engine import KerasEngine as KerasEngine
from .openvino_engine import OpenVINOEngine as OpenVINOEngine
