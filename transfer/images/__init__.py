"""Images: where they come from, decoding, and which split each is in."""
