"""Reads log files: whole lines, over rotations, selected."""
