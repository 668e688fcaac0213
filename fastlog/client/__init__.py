"""The client: what programs log with. In reading order, from a log call to the socket:

- `handler.py`, `_record.pyx`, `record_fields.py`, `tracebacks.py`, `integrations.py`: records of
  logging libraries as entries
- `client.py`, `level_methods.py`, `options.py`, `stats.py`: what programs call
- `encode.py`, `_plain.pyx`, `level_names.py`, `shorten.py`: any object as JSON that the server takes
- `_outbox.pyx`, `_native.pyx`: from the callers' threads to the client's own
- `core.py`: which twin the client runs on: `_record.pyx`, `_plain.pyx`, `_outbox.pyx` and `_native.pyx`, or, in Python,
  `pure_record.py`, `pure_plain.py`, `pure_outbox.py` and `pure_native.py`
- `thread.py`, `waiting.py`, `worker.py`: that thread; who waits for it; its turn
- `send_queue.py`, `retransmit.py`: new entries; sent ones that wait for their ACK
- `unheard.py`, `delivery.py`: entries and levels that the server does not acknowledge; what becomes of entries sent
- `spill.py`, `spill_directory.py`, `spill_file.py`, `replay.py`: entries on disk for an outage; the files that programs
  have left; one file; how it is sent
- `peer.py`, `reach.py`, `flight.py`: the server: its socket; up or down; what a refusal may be for
- `route.py`, `lookup.py`: when to move to another socket or address; the addresses of the server's name
- `link.py`, `sock_diag.py`: the socket and its ACKs; the receive buffer of a server on the same machine
- `descriptor.py`: whether a descriptor is still ours
- `lifecycle.py`: forks, and the end of the program
- `lines.py`: lines of text as entries, for `fastlog send` and `fastlog loadtest`
"""
