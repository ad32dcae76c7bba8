"""What the model-router is about, without any I/O, clock or wire format."""
