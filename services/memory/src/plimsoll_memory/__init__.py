"""Memory: documents in, passages out."""
