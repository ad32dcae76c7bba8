"""What the gateway does: who may come in, and what is carried where."""
