"""Reads log files. In reading order:

- `open_file.py`: a file of the log, plain or compressed
- `log_files.py`: the live file and its archives, in order
- `conditions.py`: what wanted entries have in common, and which frames of an archive may have some
- `parts.py`: a file in parts that are looked at one by one; what is passed over
- `selection.py`, `_select.pyx`: which entries are wanted; a first look, at bytes alone
- `hidden.py`, `_hidden.pyx`: entries that a window leaves out, although they stand between those in it
- `in_threads.py`, `_memory.pyx`, `selected.py`: the parts in threads, in order; the wanted lines of all files
- `log_reader.py`: the lines of a log that grows, whole and each once, across rotations
- `counting.py`, `_count.pyx`: how many there are of each level, app, host or minute
"""
