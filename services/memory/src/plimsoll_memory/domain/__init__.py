"""What memory knows about documents, passages and ranking: pure, synchronous, no I/O."""
