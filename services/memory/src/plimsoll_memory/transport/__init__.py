"""The wire of memory: its RPCs and the translation of what they carry."""
