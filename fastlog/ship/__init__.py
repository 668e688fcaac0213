"""`fastlog ship`: durable lines of the log into an engine that exists, each exactly once. In reading order:

- `sink.py`: what the shipper asks of an engine
- `documents.py`, `_documents.pyx`: lines as documents of `_bulk`
"""
