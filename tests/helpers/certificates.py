"""A certificate authority of a test's own, and a server's certificate that it signed.

The program is `openssl`; its tests are skipped where it is missing, except in CI.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None and os.environ.get("CI") != "true",
    reason="there is no openssl; on Debian: apt install openssl",
)

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


class Certificates(NamedTuple):
    """Paths of PEM files."""

    authority: Path
    certificate: Path  # of the host 127.0.0.1, or localhost
    key: Path


def make_certificates(directory: Path) -> Certificates:
    files = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    authority_key = directory / "ca.key"
    _openssl("req", "-x509", *_KEY, "-keyout", authority_key, "-out", files.authority, "-subj", "/CN=our own")
    _openssl(
        *("req", "-x509", *_KEY, "-keyout", files.key, "-out", files.certificate, "-subj", "/CN=server"),
        *("-CA", files.authority, "-CAkey", authority_key),
        *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"),
    )
    return files


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
