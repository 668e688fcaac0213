"""What fastlog needs in order to be compiled on this machine, and what to install if something is missing.

`setup.py` and the Makefile ask before they compile: an error of the compiler names the file that is missing, not the
package. Python 3.6 can run this file, to say that it is too old.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig

OLDEST = (3, 11)
COMPILER = "on Debian: apt install gcc libc6-dev; on Fedora: dnf install gcc; on Alpine: apk add gcc musl-dev"
ZLIB = "on Debian: apt install zlib1g-dev; on Fedora: dnf install zlib-devel; on Alpine: apk add zlib-dev"
HEADERS = "on Debian: apt install python3-dev; on Fedora: dnf install python3-devel; on Alpine: apk add python3-dev"
KERNEL = (
    "on Debian: apt install linux-libc-dev; on Fedora: dnf install kernel-headers; on Alpine: apk add linux-headers"
)
VENV = "on Debian: apt install python3-venv; on Fedora: dnf install python3; on Alpine: apk add python3 py3-pip"


def compiler():
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def has_header(name, *options):
    command = compiler() + list(options) + ["-E", "-x", "c", "-"]
    text = "#include <{}>".format(name).encode()
    done = subprocess.run(command, input=text, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def missing_to_compile():
    """A line that says what is missing, and which package has it; empty if nothing is."""
    if not shutil.which(compiler()[0]):
        return "fastlog needs a C compiler, and there is no {}; {}".format(compiler()[0], COMPILER)
    if not has_header("stdio.h"):
        return "fastlog needs the headers of the C library, and there is no stdio.h; " + COMPILER
    if not has_header("linux/aio_abi.h"):
        return "fastlog needs the headers of Linux, and there is no linux/aio_abi.h; " + KERNEL
    if not has_header("zlib.h"):
        return "fastlog needs the headers of zlib, and there is no zlib.h; " + ZLIB
    include, for_platform = sysconfig.get_path("include"), sysconfig.get_path("platinclude")
    if not has_header("Python.h", "-I" + include, "-I" + for_platform):
        return "fastlog needs the headers of Python, and {} has no Python.h; {}".format(include, HEADERS)
    return ""


def missing_venv():
    """The same for what `make` needs besides."""
    import importlib.util

    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return ""
    return "fastlog needs venv and ensurepip; " + VENV


def main():
    if sys.version_info < OLDEST:
        return (
            "fastlog needs Python 3.11 or newer, and {} is older; PYTHON=python3.12 make … names another one; "
            "Debian has it from 12 on, Fedora from 37, Alpine from 3.17".format(sys.executable)
        )
    return missing_to_compile() or missing_venv()


if __name__ == "__main__":
    sys.exit(main() or 0)
