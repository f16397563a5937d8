"""Where the project lies, and the real images and weights that may lie beside it."""

from pathlib import Path

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared" / "data"
"""Real data for tests that skip without it; nothing of it belongs to the project."""
