from .building import build_linear_head as build_linear_head
from .choice import Choice as Choice
from .choice import LinearHead as LinearHead
from .choice import choose as choose
from .rows import Rows as Rows
