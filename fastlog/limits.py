"""The numbers on which two parts of fastlog must agree, most often the sender and the receiver. A limit that concerns
one module alone is in that module.

C needs some of them as constants of its own; `tests/unit/test_limits.py` compares those with these.
"""

# The server fills a gap only with an entry that is less than this many sequences behind its sender's newest one. So a
# sender may run no further ahead of its oldest unacknowledged entry, or the server would count that entry as lost.
SEQUENCE_WINDOW = 1024

# UDP over IPv4 carries no more bytes in one datagram: 65,535 less the headers of IP and UDP.
DATAGRAM_MAX_BYTES = 65_507

# A stored line has at most so many bytes, without its line feed. Readers of the log take whole lines from blocks that
# are little longer, and pass over a line that does not fit: 256 KiB with the line feed, four times a datagram.
LINE_MAX_BYTES = 262_143

# A message that was packed or in chunks has at most so many bytes: a line, less room for the keys that fastlog adds.
MESSAGE_MAX_BYTES = 252 << 10

# A datagram takes more bytes of a receive buffer than its own, for the kernel's `struct sk_buff` and for rounding up to
# a power of two. An ACK takes the least. The receiver reckons with a typical datagram, to know how fast its buffer
# fills. A sender that must not overfill the buffer reckons with the most, and with twice the bytes of the datagram.
OVERHEAD_LEAST_BYTES = 768
OVERHEAD_TYPICAL_BYTES = 1_024
OVERHEAD_MOST_BYTES = 1_280

# Beside the log: input that was rejected. The server writes the file, and its live view reads it.
REJECTS_FILENAME = "rejects.jsonl"

# The longest ACK is {"ack":true,"sequence":18446744073709551615}.
ACK_MAX_BYTES = 44

# A priority entry without an ACK is sent again after the first time-out, before a round trip was measured: most disks
# have synced by then. Time-outs in a row double up to the longest one, which is short enough to notice soon that a
# server is back. Each is longer by a random part of the jitter, a share, so that senders do not retransmit in step.
FIRST_TIMEOUT_SEC = 0.5
LONGEST_TIMEOUT_SEC = 5.0
TIMEOUT_JITTER = 0.2

# If a sync has been under way for longer, the server's health is degraded, and the doctor makes none of its own, which
# would not end either. A disk that works needs less.
SYNC_ALARM_SEC = 3.0

# A server and its clients use these unless they are told otherwise. The UDP port is easy to remember beside syslog's
# 514. Entries of the priority levels are acknowledged. A SO_SNDBUF of this size takes a burst of a thousand entries.
DEFAULT_PORT = 5514
DEFAULT_PRIORITY_LEVELS = ("ERROR", "CRITICAL")
DEFAULT_SEND_BUFFER_BYTES = 1 << 20
