"""fastlog: structured logs over UDP, collected cheaply, the errors durable and acknowledged."""

__version__ = "0.1.0"
