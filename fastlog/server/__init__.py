"""The server: what `fastlog serve` runs."""
