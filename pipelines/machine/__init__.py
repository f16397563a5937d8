"""The machine: processes, memory, and digests of its files.

Imports errors and images of `transfer`, and `cache`; nothing else of `pipelines`.
"""
