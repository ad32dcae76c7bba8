"""What a graph, a run and its journal are: pure, synchronous, without I/O, clock or protobuf."""
