from .body import feature_body as feature_body
from .building import build_backbone as build_backbone
from .cuts import cut_backbone as cut_backbone
from .cuts import resolve_cuts as resolve_cuts
from .options import BackboneOptions as BackboneOptions
from .table import BACKBONES as BACKBONES
from .table import Backbone as Backbone
from .table import find_backbone as find_backbone
