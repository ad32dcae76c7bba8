"""The model providers: for each a codec of pure functions between neutral and wire form, and an adapter that asks it."""
