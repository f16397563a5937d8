"""Tests of the page that shows what a run left."""
