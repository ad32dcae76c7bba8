"""The outside things: Postgres and the model providers."""
