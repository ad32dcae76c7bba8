"""One module per thing outside of the gateway."""
