"""Runs side by side: what evaluations left of them, matched by image, in tables and one file."""
