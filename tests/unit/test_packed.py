"""Packed datagrams: what is unpacked, what is refused, and at what cost; compiled and readable alike."""

import gzip
import zlib
from time import thread_time

import pytest

from fastlog.inputs import _unpack, packed
from fastlog.limits import MESSAGE_MAX_BYTES
from tests.helpers.bombs import bomb, many_blocks
from tests.helpers.randomness import Random

TEXT = b'{"version":"1.1","host":"web1","short_message":"card refused","_order":1093}'
CASES = 20_000
REFUSAL_SEC_MAX = 0.1  # far more than the millisecond that it takes, for a busy machine


def unpack(data: bytes) -> bytes | None:
    found = _unpack.unpack(data)
    assert found == packed.unpack(data), data
    return found


def gzip_header(flags: int, more: bytes) -> bytes:
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + more + gzip.compress(TEXT, mtime=0)[10:]


@pytest.mark.parametrize(
    "data",
    [
        *(zlib.compress(TEXT, level) for level in range(10)),
        *(gzip.compress(TEXT, level, mtime=0) for level in range(10)),
        gzip_header(8, b"x.json\0"),
        gzip_header(16, b"a comment\0"),
        gzip_header(4, b"\x03\0abc"),
    ],
)
def test_what_compressors_make(data):
    assert unpack(data) == TEXT


def test_what_was_flushed_meanwhile():
    stream = zlib.compressobj(wbits=31)
    data = b"".join(stream.compress(TEXT[at : at + 1]) + stream.flush(zlib.Z_SYNC_FLUSH) for at in range(len(TEXT)))
    assert unpack(data + stream.flush()) == TEXT


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
@pytest.mark.parametrize("make", [lambda data: data + b"\0", lambda data: data * 2, lambda data: data + b"\n"])
def test_nothing_may_be_behind_it(compress, make):
    assert unpack(make(compress(TEXT))) is None


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_it_must_be_whole_and_right(compress):
    data = compress(TEXT)
    for size in range(len(data)):
        assert unpack(data[:size]) is None
    for at in range(len(data) - 8, len(data)):  # the checksum, and in gzip the length
        assert unpack(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f", b"\x1f\x8b", b"x\x9c", b"xylophone", b"x ray", TEXT])
def test_what_is_not_packed(data):
    assert unpack(data) is None


def test_a_dictionary_that_only_the_sender_knows():
    stream = zlib.compressobj(zdict=TEXT)
    assert unpack(stream.compress(TEXT) + stream.flush()) is None


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_a_message_is_as_long_as_a_line_may_be(compress):
    assert unpack(compress(b"x" * MESSAGE_MAX_BYTES)) == b"x" * MESSAGE_MAX_BYTES
    assert unpack(compress(b"x" * (MESSAGE_MAX_BYTES + 1))) is None
    text = Random().randbytes(MESSAGE_MAX_BYTES // 2).hex().encode()
    assert unpack(compress(text)) == text


def test_a_bomb_is_refused_at_once():
    data = bomb()
    began = thread_time()
    assert _unpack.unpack(data) is None
    assert thread_time() - began < REFUSAL_SEC_MAX


def test_so_many_blocks_and_no_more():
    assert _unpack.unpack(many_blocks(_unpack.BLOCKS_MAX)) == b""
    assert _unpack.unpack(many_blocks(_unpack.BLOCKS_MAX + 1)) is None


def test_blocks_without_end_are_refused_at_once():
    data = many_blocks(4_500)
    assert len(data) > 60_000
    assert zlib.decompress(data) == b""
    began = thread_time()
    assert _unpack.unpack(data) is None
    assert thread_time() - began < REFUSAL_SEC_MAX


def test_a_compressor_makes_so_many_blocks_only_if_it_has_no_memory():
    text = Random().randbytes(MESSAGE_MAX_BYTES)
    for level in range(10):
        for memory in (1, 9):
            stream = zlib.compressobj(level, memLevel=memory)
            data = stream.compress(text) + stream.flush()
            assert (_unpack.unpack(data) == text) == (memory == 9 or level == 0), (level, memory)


@pytest.mark.parametrize("_", range(2))
def test_they_agree_on_any_bytes(_):
    rng = Random()
    for _ in range(CASES // 2):
        text = rng.choice([TEXT, b"", b"\0" * rng.randrange(2000), rng.randbytes(rng.randrange(200))])
        data = bytearray(rng.choice([zlib.compress, gzip.compress])(text, rng.randrange(10)))
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(data))
            data[at:at] = rng.randbytes(rng.randrange(2))
            data[at] = rng.randrange(256)
            del data[at : at + rng.randrange(2)]
        unpack(bytes(data))
