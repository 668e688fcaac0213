"""The library for zstd, under one name: Python has it from 3.14 on, and `backports.zstd` is the same for those before.

It is imported only where something is compressed or unpacked: a server without compressed archives never loads it.
"""

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import *  # noqa: F403
else:
    from backports.zstd import *  # noqa: F403
