"""Tools that are functions in Python files: the files, and the processes in which they run.

`child` and `frames` are loaded into every worker process and import nothing heavy.
"""
