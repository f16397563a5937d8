"""Searching over heads: spaces, trials, rungs, a journal and a leaderboard."""
