"""`fastlog ship`: durable lines of the log into an engine that exists, each exactly once. In reading order:

- `files.py`: the files of the log, by their identity
- `reader.py`: batches of the whole lines that a sync has made durable
- `shipper.py`: the loop: passes, what is sent again, gaps, the step to the next file
- `place.py`: where to go on
- `delivery.py`: asks the engine until it answers
- `account.py`: what is counted and said
- `note.py`: how far the log is shipped, for the server; the lock
- `refused.py`: `ship-refused.jsonl`
- `sink.py`, `engine.py`: what the shipper asks of an engine; which engine it is
"""
