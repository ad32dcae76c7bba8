"""Runs agents durably: accepts, claims, advances and journals runs."""
