"""The front door of the mesh: REST, gRPC and event streams."""
