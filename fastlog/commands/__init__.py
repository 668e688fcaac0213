"""The commands other than `serve`, a module for each, whose `run` returns the exit code:

- `send.py`, with `delivery.py` (waits for what moves) and `signals.py` (those that ask it to end)
- `loadtest.py`, `ship.py`
- `tail.py`, with `rendering.py` and `_rendering.pyx` (lines as text for people)
- `tap.py`
- `top.py`, with `top_page.py`, `top_views.py` and `sparkline.py` (what it draws) and `keyboard.py` (the keys typed
  meanwhile)
- `count.py`, with `count_table.py` (rows, columns, JSON) and `histogram.py` (in a terminal)
- `doctor.py`, with `checks.py`, `space_checks.py`, `ship_checks.py` and `alert_checks.py` (one function for each
  subject), `bound_sockets.py` and `directories.py`

They share `conditions.py` and `levels.py` (wanted entries and a level on the command line) and `terminal.py` (harmless
text, colours).
"""
