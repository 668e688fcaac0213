"""`fastlog ship`: durable lines of the log into an engine that exists, each exactly once. In reading order:

- `sink.py`: what the shipper asks of an engine
- `refused.py`: the lines that an engine refuses for good
- `bulk.py`, `http_link.py`: into Elasticsearch and others that take `_bulk`; one connection to an HTTP server
- `documents.py`, `_documents.pyx`: lines as documents of `_bulk`
"""
