"""Learning from production: datasets, evaluations, and better versions."""
