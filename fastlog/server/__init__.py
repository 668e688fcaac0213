"""`fastlog serve`. In reading order, from a datagram to its ACK:

- `listeners.py`, `listener.py`, `unix_listener.py`, `own_addresses.py`: the sockets that receive it, bound here or
  taken over from a service manager; one of UDP; a unix socket; whether this host may be asked at several addresses
- `_socket.pyx`: the arena that one call of the kernel fills; which networks may send; the ACKs, which leave last
- `_drain.pyx`, `_sockets.pyx`, `_coalesce.pxd`: takes datagrams from each socket in turn, has them scanned, and waits
  for more while they come fast
- `_messages.pyx`: what is scanned of packed datagrams and of messages in chunks
- `_rate_limit.pyx`, `throttle.py`: how much of each host is taken; what becomes of hosts over their limit
- `socket_filter.py`, `_filter.pyx`, `drops.py`: the filter that keeps floods out of the kernel's queue; what the kernel
  dropped, and what the filter did
- `_ledger.pyx`, `_sequence_runs.pxd`: which entries of the same sender never arrived
- `_senders.pxd`, `_address.pxd`, `_unix.pxd`: the senders that are kept, and their addresses
- `_duplicates.pyx`: whether a priority entry is stored already
- `_lines.pyx`: the line buffer, where it waits for the next flush
- `_rejects.pyx`, `rejects.py`: where it goes if it is rejected
- `writer.py`: writes the line buffer to the file, and decides what to do when the disk refuses
- `commit.py`: which entries share a sync, when it may begin, and when their ACKs leave
- `held.py`: the priority entries that are not durable yet
- `logfile.py`, `linesfile.py`: the live file, its rotation and its lines
- `names.py`, `moves.py`, `numbered.py`: the names in its directory, and how they change; archives that move before a
  rotation has to; archives by their number, in either form
- `compression.py`, `compressor.py`, `side_process.py`: which archive is compressed when, and how it takes its place;
  the process that does it; how a process beside the server is started
- `budget.py`, `known_files.py`, `clock.py`: which archives go by their number, size or age, and what was deleted; the
  log's files with their sizes; the time of day as far as it can be trusted
- `hold.py`, `archives.py`: which archives stay because they are not shipped yet; the log's files by their identity
- `closer.py`: counts the lines of files that were deleted, and makes their room free
- `found_files.py`, `found_compressed.py`: what a start finds; the newest lines of archives that are compressed
- `repair.py`, `torn.py`: its repair after a crash, and what that takes away
- `identities.py`: which file of the log is which, for `fastlog ship`
- `storage.py`, `_aio.pyx`: every change of a file, and syncs that do not block

Around that path:

- `loop.py`, `pipeline.py`: the loop and its deadlines; the parts above on one loop
- `meters.py`, `ship_lag.py`, `room.py`, `snapshot.py`: the figures of all parts, as `/stats` has them; whether the disk
  has room for the log
- `history.py`, `history_file.py`: figures over time, up to seven days; how they survive the server
- `sender_gaps.py`: one sender in detail
- `dashboard.py`, `http_guard.py`, `connections.py`, `prometheus.py`, `page/`: the thread that shows the figures
- `alerts.py`, `alert_process.py`, `silence.py`: runs a command when the health has changed; the process that does so;
  whether the loop hangs
- `viewing.py`: hands viewers over to the process that shows them the log
- `service_manager.py`: notifies systemd
- `server.py`, `ending.py`: puts all of it together, with the signals and the start; the end
"""
