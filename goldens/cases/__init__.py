"""One module per family of ops, each with `build(recorder)`."""
