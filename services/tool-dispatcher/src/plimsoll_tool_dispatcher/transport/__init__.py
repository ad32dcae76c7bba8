"""What comes in and goes out: gRPC, and the form of everything on the wire."""
