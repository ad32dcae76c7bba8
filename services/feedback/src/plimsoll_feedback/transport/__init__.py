"""How others reach feedback: RPCs and events."""
