"""The client: what programs log through."""
