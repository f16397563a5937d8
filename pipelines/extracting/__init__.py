"""Making one feature file, by one process or by several."""
