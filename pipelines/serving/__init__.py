"""A page on this machine: what it asks, who may ask, and what a classifier answers."""
