from .architecture import plot_architecture as plot_architecture
from .plots import plot_confusion as plot_confusion
from .plots import plot_history as plot_history
from .plots import plot_predictions as plot_predictions
from .sweep_plots import plot_leaderboard as plot_leaderboard
from .sweep_plots import plot_parameters as plot_parameters
from .sweep_plots import plot_rate_range as plot_rate_range
from .sweep_plots import plot_rungs as plot_rungs
