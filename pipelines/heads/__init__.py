"""Heads on the features of a file: training one, choosing one, saving it."""
