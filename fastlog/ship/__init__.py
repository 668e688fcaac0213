"""`fastlog ship`: durable lines of the log into an engine that exists, each exactly once. In reading order:

- `segment_file.py`: one open file: what of it is durable, and its name
- `compressed_file.py`: the same of an archive that the server has compressed, read as text
- `files.py`: the files of the log, by their identity
- `reader.py`: batches of the whole lines that a sync has made durable
- `shipper.py`: the loop: passes, what is sent again, gaps, the step to the next file
- `place.py`: where to continue
- `delivery.py`: asks the engine until it answers
- `account.py`: what is counted and said
- `note.py`: how far the log is shipped, for the server; the lock
- `refused.py`: `ship-refused.jsonl`
- `sink.py`, `engine.py`: what the shipper asks of an engine; which engine it is
- `nats.py`: NATS JetStream: one message under way, stored only if the one before it is the last
- `nats_stream.py`: the stream: what it must be, how it is made, its last message of a subject
- `nats_report.py`: what `--check` prints of it
- `nats_link.py`: the connection, with nats-py in a thread of its own
- `nats_address.py`: servers, user and stream from the settings
- `bulk.py`, `http_link.py`: Elasticsearch and others that take `_bulk`; one connection to an HTTP server
- `documents.py`, `_documents.pyx`: lines as documents of `_bulk`
"""
