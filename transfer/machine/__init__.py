"""What this process may use of its machine: processors, its control groups, whole files.

Imports nothing of the project. `pipelines.machine` builds on it.
"""
