"""MCP servers, by streamable HTTP or as processes, in the present and the legacy revision of the protocol."""
