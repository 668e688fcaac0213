"""Reads log files. In reading order:

- `log_files.py`: the live file and its archives, plain or compressed
- `log_reader.py`: their lines, whole and each once, across rotations
- `selection.py`, `_select.pyx`: which entries are wanted; a first look, at bytes alone
- `counting.py`: how many there are of each level, app, host or minute
"""
