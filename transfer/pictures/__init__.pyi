from .architecture import plot_architecture as plot_architecture
from .curves import plot_history as plot_history
from .curves import plot_rate_range as plot_rate_range
from .curves import plot_rungs as plot_rungs
from .leaderboard import plot_leaderboard as plot_leaderboard
from .parameters import plot_parameters as plot_parameters
from .predictions import plot_confusion as plot_confusion
from .predictions import plot_predictions as plot_predictions
