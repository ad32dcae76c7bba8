"""One module per outside thing, named after it."""
