"""What is said of images: as entries, in files that grow and are gone on with, in a table."""
