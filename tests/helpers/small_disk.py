"""A small file system in memory, mounted for a test, that can really be full. Only root can do that."""

import os
import subprocess

import pytest

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")

SIZE = 8 << 20


@pytest.fixture
def small_disk(tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
