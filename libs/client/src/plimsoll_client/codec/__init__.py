"""Protobuf messages ↔ the client's values, by noun; nothing else in the client reads a message."""
