"""docs/security.md: entries in the clear on a cable between two hosts, and in the tunnel of the document's files."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers import unpacked
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, Server
from tests.helpers.senders import recipe
from tests.helpers.two_hosts import CABLE, Program, TwoHosts, needs_two_hosts

DOCUMENT = (Path(__file__).parents[2] / "docs/security.md").read_text()
FILES = recipe("Encrypt the way", DOCUMENT)
IN_THE_CLEAR, IN_THE_TUNNEL = "10.9.0.1", "10.20.0.1"
# Prints what crosses the cable, in hexadecimal, until the test lets it go on.
LISTENER = f"""
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
frames.bind(("{CABLE}", 0))
step()
frames.setblocking(False)
seen = []
while True:
    try:
        seen.append(frames.recv(65536).hex())
    except BlockingIOError:
        break
print(json.dumps(seen))
"""
SENDER = """
client = Client(sys.argv[1], int(sys.argv[2]), app="shop")
client.send("ERROR", "card refused")
print(json.dumps(client.flush(20)))
client.close()
"""
needs_wireguard = pytest.mark.skipif(
    os.environ.get("CI") != "true"
    and not (
        unpacked.find("wg", "wireguard-tools")
        and unpacked.find("wireguard-go", "wireguard-go")
        and Path("/dev/net/tun").exists()
    ),
    reason="no wg, no wireguard-go (make senders), or no /dev/net/tun",
)


def wg(*arguments: str, given: str = "") -> str:
    program = unpacked.find("wg", "wireguard-tools")
    command = [program.path, *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout.strip()


class Tunnel:
    """The interfaces of the document's two files. Their names say whose they are, since the sockets by which wireguard-go
    is told what to do are in one directory for all network namespaces."""

    def __init__(self, hosts: TwoHosts, directory: Path) -> None:
        private = {side: wg("genkey") for side in ("server", "sender")}
        public = {side: wg("pubkey", given=key) for side, key in private.items()}
        self._hosts = {"server": hosts.inside, "sender": hosts.inside_client}
        self._files = {side: directory / f"{side[:3]}{os.getpid()}.conf" for side in self._hosts}
        for side, path in self._files.items():
            [text] = FILES[f"wireguard-{side}"]
            for name, key in private.items():
                text = text.replace(f"{name.upper()}_PRIVATE_KEY", key)
                text = text.replace(f"{name.upper()}_PUBLIC_KEY", public[name])
            path.touch(0o600)
            path.write_text(text.replace("logs.example.net", IN_THE_CLEAR))
        self._up: list[str] = []
        try:
            for side in self._hosts:
                self._quick("up", side)
                self._up.append(side)
        except BaseException:
            self.close()
            raise

    def _quick(self, what: str, side: str) -> None:
        """Where the kernel has no WireGuard, `wg-quick` starts wireguard-go, which is one as a process."""
        programs = [unpacked.find("wg-quick", "wireguard-tools"), unpacked.find("wireguard-go", "wireguard-go")]
        path = ":".join([*(str(Path(program.path).parent) for program in programs), os.environ["PATH"], "/usr/sbin"])
        subprocess.run(
            [*self._hosts[side], programs[0].path, what, str(self._files[side])],
            env={**BASE_ENVIRONMENT, "PATH": path, "WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go"},
            capture_output=True,
            check=True,
            timeout=PATIENCE_SEC,
        )

    def close(self) -> None:
        for side in self._up:
            self._quick("down", side)


def crosses_the_cable(hosts: TwoHosts, server: Server, address: str, closing) -> bytes:
    """What a listener on the cable sees while a program sends an error and gets its ACK."""
    listener = closing(Program(hosts.inside, LISTENER))
    listener.reaches_step()
    assert closing(Program(hosts.inside_client, SENDER, address, server.port)).ends() is True
    listener.goes_on()
    return b"".join(bytes.fromhex(frame) for frame in listener.ends())


@needs_two_hosts
def test_entries_travel_in_the_clear(closing, tmp_path):
    hosts = closing(TwoHosts())
    server = closing(Server(tmp_path, "0.0.0.0", command=[*hosts.inside, *FASTLOG, "serve"]))
    seen = crosses_the_cable(hosts, server, IN_THE_CLEAR, closing)
    assert b"card refused" in seen
    assert b'"ack":true' in seen


@needs_two_hosts
@needs_wireguard
def test_a_tunnel_hides_entries_and_carries_their_acks(closing, tmp_path):
    hosts = closing(TwoHosts())
    closing(Tunnel(hosts, tmp_path))
    server = closing(Server(tmp_path, IN_THE_TUNNEL, command=[*hosts.inside, *FASTLOG, "serve"], STAMP="always"))
    seen = crosses_the_cable(hosts, server, IN_THE_TUNNEL, closing)
    assert len(seen) > len(b"card refused")
    assert b"card refused" not in seen
    assert b"ack" not in seen
    assert server.process.poll() is None
    server.stop()
    [entry] = [json.loads(line) for line in server.log().splitlines()]
    assert entry["message"] == "card refused"
    assert entry["source"].startswith("10.20.0.2:")
