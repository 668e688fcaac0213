"""What SHIP_TO says about NATS."""

import pytest

from fastlog.config import Settings
from fastlog.errors import ConfigError
from fastlog.ship.nats_address import NatsServer, nats_address


def address(to: str, **more: str):
    return nats_address(Settings(ship_to=to, **more))


@pytest.mark.parametrize(
    ("to", "servers"),
    [
        ("nats://one/LOGS", [NatsServer("one", 4222)]),
        ("nats://one:5000/LOGS", [NatsServer("one", 5000)]),
        ("nats://127.0.0.1,two:1,[::1]:2/LOGS", [("127.0.0.1", 4222), ("two", 1), ("::1", 2)]),
        ("nats://me:secret@one/LOGS", [NatsServer("one", 4222, "me", "secret")]),
        ("nats://m%40e:a%2Fb%2Cc%3Ad@one/LOGS", [NatsServer("one", 4222, "m@e", "a/b,c:d")]),
        ("nats://me:@one/LOGS", [NatsServer("one", 4222, "me", "")]),
        ("nats://token@one/LOGS", [NatsServer("one", 4222, "token", None)]),
        ("nats://me:p@ss@one/LOGS", [NatsServer("one", 4222, "me", "p@ss")]),
        ("nats://a:b@one,c:d@two/LOGS", [NatsServer("one", 4222, "a", "b"), NatsServer("two", 4222, "c", "d")]),
        ("nats://a:b@one,two/LOGS", [NatsServer("one", 4222, "a", "b"), NatsServer("two", 4222, "a", "b")]),
    ],
)
def test_servers_of_ship_to(to, servers):
    found = address(to)
    assert found.servers == [NatsServer(*server) for server in servers]
    assert found.stream == "LOGS"


@pytest.mark.parametrize(
    "to",
    [
        "nats://one:0/LOGS",
        "nats://one:65536/LOGS",
        "nats://one:port/LOGS",
        "nats://one two/LOGS",
        "nats://one,/LOGS",
        "nats://me:secret@/LOGS",
        "nats://::1/LOGS",
        "nats://one/LOGS/more",
        "nats://one/LO.GS",
        "nats://one/LOGS?x=1",
        "nats://one/" + "S" * 256,
    ],
)
def test_a_ship_to_that_is_none_of_nats_rejected(to):
    with pytest.raises(ConfigError) as error:
        address(to)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("to", "ca", "needed"), [("nats", "", False), ("tls", "", True), ("nats", "/ca.pem", True)])
def test_tls_is_needed_where_anything_says_so(to, ca, needed):
    assert address(f"{to}://one/LOGS", ship_ca=ca).tls_needed is needed


@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
def test_a_ca_without_certificates_rejected(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"SHIP_CA=.*ca\.pem cannot be used: "):
        address("tls://one/LOGS", ship_ca=str(path)).tls_context()
