"""Trying candidates under one deadline and one budget, until one answers or nothing is left that could help."""
