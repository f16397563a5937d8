"""Heads on features: what one is, fitting one, banks of many, and exact baselines."""
