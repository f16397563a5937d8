"""What an audit finds in a run's images, how it is shown and kept, and what is decided of it.

Imports the setup, features and models of runs; `pipelines.audit` and `pipelines.evaluate` import
it.
"""
