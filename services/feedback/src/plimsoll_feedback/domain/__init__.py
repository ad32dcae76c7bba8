"""Operations, events and signals: pure values and functions, without I/O, clock or wire format."""
