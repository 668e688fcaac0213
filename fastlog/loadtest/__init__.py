"""The engine of `fastlog loadtest`: it sends at a pace and accounts for every entry. In reading order:

- `entries.py`, `messages.py`: what is sent, made up or of a corpus
- `_sender.pyx`, `_pending.pxd`: one client, without the GIL; its entries that wait for ACKs
- `run.py`, `progress.py`: one run with all of its clients; its progress bar
- `report.py`: what became of each entry, by the server's figures
- `search.py`: the highest rate without loss, by many short runs
"""
