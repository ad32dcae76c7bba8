"""Numbered, forward-only SQL files, run at start."""
