"""Tools that run elsewhere: operations of HTTP APIs, tool hosts of other teams, MCP servers."""
