"""What a tool, a call and its outcome are: pure, synchronous, no I/O, no clock."""
