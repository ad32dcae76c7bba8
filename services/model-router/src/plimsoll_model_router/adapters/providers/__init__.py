"""The model providers: for each dialect a codec of pure functions between neutral and wire form, and one transport for all."""
