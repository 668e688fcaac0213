"""Runs build/fuzz/fuzz-fastlog: first inputs and a dictionary from the tests' own, then each part for a while.

What the fuzzer kept of earlier runs (build/fuzz/kept) is where the next one begins.
"""

import argparse
import gzip
import os
import subprocess
import sys
import zlib
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fastlog.inputs import gelf
from tests.fuzz.receive import BETWEEN, FILLERS
from tests.helpers.cases import CASES, GELF, GELF_OBJECTS, GOOD, GOOD_2, LONG_GELF, nested
from tests.helpers.datagrams import datagrams as sent_by_others
from tests.helpers.syslog_cases import CASES as SYSLOG
from tests.unit import test_syslog_agrees
from tests.unit.test_scanner_agrees import TOKENS

GELF_TOKENS = [f'"{key}":'.encode() for name in gelf.TAKEN for key in (name, f"_{name}")]
ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build/fuzz"
CORPUS = ROOT / "tests/fuzz/corpus"

# Part: target and libFuzzer's options. Few bytes reach nearly every state, and reach it often; the long inputs are for
# what counts, adds up or steps by vectors. What fills the receive path's limits comes from receive.py.
PARTS = {
    "scanner": ("scanner", ["-max_len=4096"]),
    "long": ("scanner", ["-max_len=65507", "-len_control=0"]),
    "syslog": ("syslog", ["-max_len=1024"]),
    "long syslog": ("syslog", ["-max_len=65507", "-len_control=0"]),
    "gelf": ("gelf", ["-max_len=2048"]),
    "long gelf": ("gelf", ["-max_len=65507", "-len_control=0"]),
    "unpack": ("unpack", ["-max_len=1024"]),
    "chunks": ("chunks", ["-max_len=512"]),
    "receive": ("receive", ["-max_len=1024"]),
}
# An input that takes longer hangs. It is far more than any input takes, since the machine itself may stall for a while.
HANG = ["-timeout=300", "-report_slow_units=300"]


def seeds() -> dict[str, list[bytes]]:
    """The first inputs of each part."""
    datagrams = [datagram for _, datagram, _ in CASES]
    entries = b"\n".join([GOOD, GOOD_2, nested(64), b'{"level":"INFO","message":\r\n"m"}', b"x"])
    message = b'{"level":"INFO","message":"%s"}' % (b"0123456789abcdef" * 4000)
    objects = [piece for _, _, pieces in GELF for kind, piece in pieces if kind == "gelf"]
    return {
        "scanner": datagrams,
        "syslog": [text for text, _ in SYSLOG] + [d.data for d in sent_by_others() if len(d.data) <= 1024],
        "long syslog": [text * 60 for text, _ in SYSLOG]
        + [b'1 - h a - - [a b="' + b'\\"' * 30000 + b'"]', b"\xe9" * 60000],
        "gelf": objects + GELF_OBJECTS,
        "long gelf": LONG_GELF,
        "unpack": [b"\0" + pack(GOOD) for pack in (zlib.compress, gzip.compress)]
        + [bytes([how, 5, 1]) + GOOD for how in (2, 3, 130, 131, 30, 31)]
        + [b"\1\0\0" + zlib.compress(GOOD, level)[2:-4] for level in range(4)],
        "chunks": [bytes([1, 8, 0, 0, 1, 8, 1, 0]), bytes([1, 20, 2, 9, 1, 16, 0, 0, 1, 16, 1, 0, 2, 0, 0, 255])]
        + [b"".join(bytes([n & 255, 15, n & 1, 40]) for n in range(count)) for count in (33, 100, 128)],
        "long": [message, b"[" * 65507, b'{"":' * 16000, entries * 100, b'"\\u0041' * 10000, b" \n" * 30000],
        "receive": [b"\x00\x00\x01" + datagram for datagram in [*datagrams, *map(zlib.compress, datagrams)]]
        + [bytes([how, 0, 9]) + BETWEEN.join(datagrams[how::16]) for how in range(16)]
        + [bytes([how, filler, 255]) + BETWEEN.join([GOOD, GOOD_2] * 5) for how in (1, 15) for filler in FILLERS],
    }


def write_seeds(part: str) -> Path:
    folder = OUT / "seeds" / part
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds()[part]:
        (folder / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    return folder


def write_dictionary() -> Path:
    path = OUT / "tokens.dict"
    tokens = [*TOKENS, *GELF_TOKENS, *test_syslog_agrees.TOKENS, BETWEEN]
    words = ["".join(f"\\x{byte:02x}" for byte in token) for token in tokens if len(token) <= 64]
    path.write_text("".join(f'"{word}"\n' for word in words))
    return path


def fuzz(part: str, seconds: int, runs: int) -> bool:
    """Fuzzes one part; returns whether nothing was found. The output of libFuzzer goes to a file, whose end is shown."""
    target, options = PARTS[part]
    kept, log = OUT / "kept" / part, OUT / f"{part}.log"
    kept.mkdir(parents=True, exist_ok=True)
    print(f"fuzzing: {part}", flush=True)
    with log.open("wb") as output:
        done = subprocess.run(
            [
                OUT / "fuzz-fastlog", *options, f"-max_total_time={seconds}", f"-runs={runs}",
                f"-dict={write_dictionary()}", f"-artifact_prefix={CORPUS / target}/", *HANG,
                kept, write_seeds(part), CORPUS / target,
            ],
            env={**os.environ, "FASTLOG_FUZZ": target}, stdout=output, stderr=output, check=False,
        )  # fmt: skip
    lines = log.read_text(errors="replace").splitlines()
    print("\n".join(lines[-200:] if done.returncode else [line for line in lines if "DONE" in line]))
    return done.returncode == 0


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all of them unless named")
parser.add_argument("--seconds", type=int, default=10, help="for each part")
parser.add_argument("--runs", type=int, default=-1, help="for each part, if they take fewer seconds")
arguments = parser.parse_args()
found_nothing = [fuzz(part, arguments.seconds, arguments.runs) for part in arguments.parts or PARTS]
sys.exit(not all(found_nothing))
