"""Mutants of the server: small errors, made one at a time in a copy of the tree. The tests must find each of them."""
