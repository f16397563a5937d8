"""Frozen backbones: the table, building, weights, cuts, and pixels to features."""
