"""The stages and the command line."""
