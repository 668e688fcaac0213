"""Compressed archives: zstd's seekable format, with a summary of each frame. In the order of an archive's life:

- `summary.py`, `_summary.pyx`: what the lines of one frame have in common, so that a reader can skip them
- `writer.py`: writes an archive
- `index.py`: the layout of the file; reads where its frames are, without unpacking any
- `process.py`, `background.py`, `_background.pyx`: the process that compresses one; what it does first, as each process
  beside the server does; what it asks of Linux
- `frames.py`: unpacks frames
- `text_sizes.py`: how much text archives have, without unpacking any
- `zstd.py`: the library
"""
