"""`fastlog ship`: durable lines of the log into an engine that exists, each exactly once. In reading order:

- `sink.py`: what the shipper asks of an engine
- `nats.py`: NATS JetStream: one message under way, stored only if the one before it is the last
- `nats_stream.py`: the stream: what it must be, how it is made, its last message of a subject
- `nats_report.py`: what `--check` prints of it
- `nats_link.py`: the connection, with nats-py in a thread of its own
- `nats_address.py`: servers, user and stream from the settings
"""
