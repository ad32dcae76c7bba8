"""The `plimsoll` command line: thin commands over the client, tables for people, JSON for programs."""
