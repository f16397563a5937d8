from .exporter import exporter as exporter
from .runtimes import ExportedModel as ExportedModel
from .runtimes import is_exported as is_exported
from .runtimes import open_model as open_model
