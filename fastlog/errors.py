"""The errors that fastlog raises to its callers. Bad datagrams are none: they are counted."""


class FastlogError(Exception):
    """Base of all of them; the text is one line that says what is wrong, where, and what to do."""

    exit_code = 1  # of a command that ends with it


class ConfigError(FastlogError):
    """A setting or an argument has a value that is not allowed."""

    exit_code = 2


class StartError(FastlogError):
    """The server cannot start: its port is taken, its directory cannot be written, and so on."""
