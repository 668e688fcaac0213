"""The figures of a client."""

import msgspec


class ClientStats(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened to the entries so far. Each entry is in one place, at any moment:

    calls = queued + sum(dropped.values()) + sent_once + (acknowledged - replayed) + given_up + spilled
    """

    calls: int  # entries that the program logged
    queued: int  # entries in memory, including those that wait for their ACK
    queued_bytes: int
    unacknowledged: int  # priority entries that were sent and wait for their ACK
    sent: int  # entries handed to the network, each counted once; without those replayed from a spill file
    sent_once: int  # entries among them that are not sent again: ordinary ones, and sent_unacknowledged
    sent_unacknowledged: int  # priority entries sent once, since the server does not acknowledge their level
    sent_bytes: int  # in datagrams, retransmissions included
    datagrams: int
    acknowledged: int  # priority entries that are on the server's disk, including replayed ones
    retransmitted: int
    given_up: int  # priority entries that were sent and not acknowledged in time
    given_up_first: tuple[bytes, ...]  # the first of them, as they were sent
    dropped: dict[str, int]  # never sent, by level: a lane was full, the client was closed, or its time was over
    shortened: int  # entries that were cut to fit in a datagram
    refused: int  # times that the network reported that nothing listens there
    lost: int  # datagrams of ordinary entries that were too large, refused, or may have been: this many at most
    lost_entries: int  # the ordinary entries in them
    spilled: int  # priority entries written to a spill file
    replayed: int  # acknowledged priority entries from spill files, also of earlier programs
    set_aside: int  # of the spilled ones, never acknowledged and kept in a file that nobody sends again by itself
    abandoned: int  # of the spilled ones, never acknowledged and lost, since the files set aside had no room
    round_trip_ms: float | None  # from sending to the ACK, smoothed
    problem: str  # the latest trouble, or empty
    implementation: str  # `compiled`, or `python` where there are no compiled modules, or FASTLOG_PURE is set
