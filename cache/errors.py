"""The one error of the feature store."""


class CacheError(RuntimeError):
    """A feature file is missing, foreign, incomplete or damaged; one line that says what to do."""
