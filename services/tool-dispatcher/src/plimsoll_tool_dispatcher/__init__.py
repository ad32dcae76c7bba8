"""Validates, authorises, records and executes tool calls."""
