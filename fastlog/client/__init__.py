"""The client: what programs log with."""
