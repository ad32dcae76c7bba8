"""What feedback keeps outside of itself."""
