"""Doing a step: one module per kind of node that touches something outside."""
