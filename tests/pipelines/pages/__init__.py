"""Tests of what all pages share, and a reader of pages."""
