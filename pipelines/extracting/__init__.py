"""Making one feature file, in one process or in many.

Imports the setup and what stages show; `pipelines.features` and `pipelines.cache` import it, but
only where a file has to be made.
"""
