"""Who may do what at the front door: pure."""
