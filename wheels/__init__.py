"""What builds the wheels, and the Pythons that they and the tests need. No installation has it.

- `pythons`: finds the Pythons of this machine, and unpacks those that it lacks.
- `build`: builds the wheels for Linux, and checks and tests them.
- `macos`: compiles the client for macOS.
- `smoke`: uses an installed fastlog as a new user would.
"""
