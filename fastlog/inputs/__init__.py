"""What senders speak besides fastlog's own entries: syslog, GELF, and packed or cut datagrams of either.

Each format has a converter in C, which writes an entry's line, and beside it a readable reference in Python, which must
agree with it on any bytes.

- `receipt.py`, `_receipt.pxd`: what the server knows of a datagram besides its bytes: when it came, and from whom
- `zones.py`: SYSLOG_ZONE, which offset a time zone has when
- `stamp.py`, `_stamp.pxd`: its words about an entry, `received` and `source`
- `syslog_names.py`: names and limits of syslog
- `syslog.py`, `_syslog.pyx`, `_text.h`: syslog messages
- `gelf.py`, `_gelf.pyx`: GELF objects
- `packed.py`, `_unpack.pyx`: gzip and zlib
- `chunks.py`, `_chunks.pyx`: GELF messages in chunks, until their last chunk comes
"""
