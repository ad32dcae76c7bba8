"""The outside world of memory: one module for each thing, named after it."""
