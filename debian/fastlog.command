#!/bin/sh
# The interpreter takes nothing from the user's environment: neither PYTHONPATH nor packages in the home directory.
exec /opt/fastlog/bin/python3 -I -m fastlog "$@"
