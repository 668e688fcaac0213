"""The commands, but for `serve`, whose module is the server."""
