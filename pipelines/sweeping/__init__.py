"""Searching over heads: spaces, trials, rungs, a journal, and a leaderboard.

Imports the features and head stages, on whose functions a sweep is built;
`pipelines.sweep` imports it.
"""
