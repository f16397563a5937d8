"""HTML pages that are one file and need nothing else: their frame, style, charts and thumbnails."""
