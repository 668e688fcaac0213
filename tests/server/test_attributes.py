"""A Python without extended attributes, as one before 3.13 for musl is: as if the file system kept none."""

import sys

from tests.helpers.archives import in_force, text_of
from tests.helpers.entries import entries
from tests.helpers.running import Server, eventually

PROGRAM = """
import os, sys
del os.getxattr, os.setxattr, os.listxattr, os.removexattr
from fastlog.cli import main
sys.exit(main(["serve"]))
"""


def test_a_server_stores_rotates_and_compresses_without_attributes(tmp_path, closing):
    settings = {"MAX_LOG_SIZE_MB": "0.01", "LOG_COMPRESS": "zstd", "LOG_BACKUPS": "100"}
    server = closing(Server(tmp_path, command=[sys.executable, "-c", PROGRAM], **settings))
    sent = entries(1000)
    server.send(sent)
    eventually(server.stats, lambda stats: stats["archives"]["compressed_files"] > 0)
    assert server.stop() == 0
    assert b"".join(map(text_of, in_force(tmp_path / "server.log"))).splitlines() == sent
