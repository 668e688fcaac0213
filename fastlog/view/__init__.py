"""Shows the log to viewers, in a process beside the server:

- `query.py`: what a viewer asks for, which the server checks
- `process.py`: the process: takes connections from the server, and shares its time out
- `wanted.py`: which lines a query wants: entries, or notes of rejected input
- `feed.py`: what is written to the log while somebody watches
- `search.py`: the newest lines that are there
- `viewers.py`: the connections, and what is sent to each
- `lines.py`: lines taken out of a block, and their place in the log
"""
