"""docs/kubernetes.md and contrib/kubernetes: the manifests fit Kubernetes' schemas and this program, a loss kills no pod,
and a client leaves the pod that was replaced."""

import os
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from fastlog.config import Settings, describe
from tests.helpers import unpacked
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, TOKEN, Server, eventually, get, run_fastlog
from tests.helpers.two_hosts import Program, TwoHosts, ip, needs_two_hosts

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/kubernetes.md").read_text()
MANIFEST = yaml.safe_load((ROOT / "contrib/kubernetes/fastlog.yaml").read_text())
[PATCH] = map(yaml.safe_load, re.findall(r"^```yaml-patch\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
IN_THE_DOCUMENT = [
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
]
INFO = b'{"level":"INFO","message":"%s"}'


def patched(whole: object, patch: object) -> object:
    """As kustomize does it: objects are merged, and so are lists of things that have names."""
    if isinstance(whole, dict) and isinstance(patch, dict):
        merged = {key: patched(whole[key], patch[key]) if key in whole else patch[key] for key in patch}
        return {**whole, **merged}
    if isinstance(whole, list) and isinstance(patch, list) and all("name" in each for each in [*whole, *patch]):
        by_name = {each["name"]: each for each in whole}
        return list({**by_name, **{each["name"]: patched(by_name.get(each["name"]), each) for each in patch}}.values())
    return patch


ON_THE_NODE = patched(MANIFEST, PATCH)


def container(manifest: dict) -> dict:
    [found] = manifest["spec"]["template"]["spec"]["containers"]
    return found


def environment(manifest: dict) -> dict[str, str]:
    return {each["name"]: each.get("value", TOKEN) for each in container(manifest)["env"]}


# The manifests


@pytest.mark.parametrize(
    "manifest", [MANIFEST, ON_THE_NODE, *IN_THE_DOCUMENT], ids=["pod", "node", *map(str, IN_THE_DOCUMENT)]
)
def test_each_manifest_fits_the_schemas_of_kubernetes(manifest):
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_a_field_that_is_not_known_is_found():
    wrong = patched(MANIFEST, {"spec": {"template": {"spec": {"hostNetworks": True}}}})
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("manifest", [MANIFEST, ON_THE_NODE], ids=["pod", "node"])
def test_the_manifest_fits_the_program_and_its_image(manifest):
    assert environment(manifest).keys() <= {setting.variable for setting in describe()}
    ports = {port["name"]: port for port in container(manifest)["ports"]}
    assert ports["entries"]["containerPort"] == ports["entries"]["hostPort"] == Settings().server_port
    assert ports["dashboard"]["containerPort"] == Settings().dashboard_port
    image = DockerfileParser(path=str(ROOT / "Dockerfile"))
    [user] = [each["value"] for each in image.structure if each["instruction"] == "USER"]
    pod = manifest["spec"]["template"]["spec"]
    assert user == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert image.envs["LOG_DIR"] in [mount["mountPath"] for mount in container(manifest)["volumeMounts"]]
    assert pod["initContainers"][0]["image"] == container(manifest)["image"]
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("command", [["serve", "--check"], ["send", "hello"]], ids=" ".join)
def test_the_variables_of_a_service_are_why_service_links_are_off(tmp_path, command):
    done = run_fastlog(*command, cwd=tmp_path, FASTLOG_SERVER_PORT="udp://10.96.7.1:5514")
    assert done.returncode == 2
    assert "FASTLOG_SERVER_PORT" in done.stderr


# The probes


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_a_loss_fails_no_probe(start, probe):
    server = start(**environment(MANIFEST), RCVBUF_SIZE="1")
    with server.client() as client, server.stopped():
        for _ in range(1_000):
            client.send(INFO % b"one of many")
    eventually(lambda: get(server.dashboard_port, "/health"), lambda answer: answer.status == 503)
    asked = container(MANIFEST)[probe]["httpGet"]
    assert asked["port"] == "dashboard"
    assert get(server.dashboard_port, asked["path"], Host="10.244.0.2:8080").status == 200


# A pod that is replaced


needs_nat = pytest.mark.skipif(
    os.environ.get("CI") != "true" and unpacked.find("nft", "nftables") is None, reason="no nft; make senders"
)
GATEWAY = "10.244.0.1"  # the node, as its pods see it
SENDERS = """
address, port = "10.9.0.1", 5514
old = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
old.connect((address, port))
client = Client(address, port)
old.send(b'{"level":"INFO","message":"to the first pod"}')
client.send("ERROR", "to the first pod")
assert client.flush(20)
step()
old.send(b'{"level":"INFO","message":"lost"}')
client.send("ERROR", "to the second pod")
delivered = client.flush(20)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as new:
    new.sendto(b'{"level":"INFO","message":"from a new port"}', (address, port))
print(json.dumps(delivered))
client.close()
old.close()
"""


class Node(TwoHosts):
    """A node with pods, each a network namespace, and a sender on another host. Port 5514 of the node is translated to
    one of the pods, as the plugin portmap does it, and what the kernel remembers of senders stays."""

    def __init__(self) -> None:
        super().__init__()
        self._pods: dict[str, str] = {}
        forward = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
        subprocess.run([*self.inside, *forward], check=True, timeout=PATIENCE_SEC)

    def add_pod(self, address: str) -> list[str]:
        """What goes before a command that runs in it."""
        name, cable = f"fastlog-pod{len(self._pods)}-{os.getpid()}", f"pod{len(self._pods)}"
        ip("netns", "add", name)
        self._pods[address] = name
        ip("link", "add", cable, "netns", self._server, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("-n", self._server, "addr", "add", f"{GATEWAY}/32", "dev", cable)
        ip("-n", self._server, "link", "set", cable, "up")
        ip("-n", self._server, "route", "add", address, "dev", cable)
        ip("-n", name, "addr", "add", f"{address}/32", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", name, "link", "set", link, "up")
        ip("-n", name, "route", "add", GATEWAY, "dev", "eth0")
        ip("-n", name, "route", "add", "default", "via", GATEWAY)
        return ["ip", "netns", "exec", name]

    def remove_pod(self, address: str) -> None:
        ip("netns", "del", self._pods.pop(address))
        ip("-n", self._server, "route", "replace", "blackhole", address)

    def translate_to(self, address: str) -> None:
        program = unpacked.find("nft", "nftables")
        rules = (
            "add table ip portmap\n"
            "add chain ip portmap pre { type nat hook prerouting priority dstnat; }\n"
            "flush chain ip portmap pre\n"
            f"add rule ip portmap pre udp dport 5514 dnat to {address}\n"
        )
        subprocess.run(
            [*self.inside, program.path, "-f", "-"],
            input=rules,
            env={**BASE_ENVIRONMENT, **program.environment},
            text=True,
            check=True,
            timeout=PATIENCE_SEC,
        )

    def close(self) -> None:
        for address in list(self._pods):
            ip("netns", "del", self._pods.pop(address))
        super().close()


@needs_two_hosts
@needs_nat
def test_a_client_leaves_the_pod_that_was_replaced(closing, tmp_path):
    node = closing(Node())

    def pod(address: str) -> Server:
        directory = tmp_path / address
        directory.mkdir()
        inside = node.add_pod(address)
        return closing(
            Server(directory, "0.0.0.0", command=[*inside, *FASTLOG, "serve"], SERVER_PORT="5514", STAMP="always")
        )

    first = pod("10.244.0.2")
    node.translate_to("10.244.0.2")
    senders = closing(Program(node.inside_client, SENDERS))
    senders.reaches_step()
    entries = first.entries()
    assert [entry["message"] for entry in entries] == ["to the first pod"] * 2
    assert all(entry["source"].startswith("10.9.0.9:") for entry in entries)  # translated, not masqueraded
    node.remove_pod("10.244.0.2")
    second = pod("10.244.0.3")
    node.translate_to("10.244.0.3")
    senders.goes_on()
    assert senders.ends() is True
    eventually(second.queued, lambda size: size == 0)
    assert {entry["message"] for entry in second.entries()} == {"to the second pod", "from a new port"}
