"""Feedback: what happened in production, where it failed, and how good it was."""
