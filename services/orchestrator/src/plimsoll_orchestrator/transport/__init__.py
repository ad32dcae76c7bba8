"""How the orchestrator is reached: gRPC, and the form of its messages."""
