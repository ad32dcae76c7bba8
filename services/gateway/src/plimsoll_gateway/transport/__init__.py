"""REST and gRPC, from one contract."""
