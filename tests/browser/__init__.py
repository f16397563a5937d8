"""HTML pages that the project writes, opened in a real browser; skipped where there is none."""
