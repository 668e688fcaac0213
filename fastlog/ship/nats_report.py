"""What `fastlog ship --check` prints of a stream of NATS."""

from fastlog.ship.nats_link import Link
from fastlog.ship.nats_stream import Config, Info, Stream

_NS_PER_SEC = 10**9


def report(link: Link, stream: Stream, subject: str, hold_bytes: int) -> list[tuple[str, str]]:
    """Names and values, warnings last. Raises StreamError."""
    info = stream.info()
    last = stream.last(subject)
    config = info.config
    rows = [
        ("server", link.server),
        ("stream", f"{stream.name}, {info.state.messages:,} messages, {info.state.bytes:,} bytes"),
        ("subject", subject),
        ("last position", f"{last.position or 'not of fastlog ship'}, message {last.sequence}" if last else "none"),
        ("replicas", _replicas(info)),
        ("storage", config.storage),
        ("limits", _limits(config)),
        ("dedupe window", _duration(config.duplicate_window)),
        ("sync", "not told to clients; unless sync_interval is set, what was stored is synced every two minutes"),
    ]
    return rows + [("warning", text) for text in _warnings(config, hold_bytes)]


def _replicas(info: Info) -> str:
    cluster = info.cluster
    if cluster is None or info.config.num_replicas == 1:
        return str(info.config.num_replicas)
    current = sum(peer.current and not peer.offline for peer in cluster.replicas)
    others = len(cluster.replicas)
    return f"{info.config.num_replicas}, leader {cluster.leader or 'none'}, {current} of {others} others current"


def _limits(config: Config) -> str:
    limits = [
        f"{config.max_bytes:,} bytes" if config.max_bytes >= 0 else "",
        f"{config.max_msgs:,} messages" if config.max_msgs >= 0 else "",
        f"{config.max_msgs_per_subject:,} messages of a subject" if config.max_msgs_per_subject > 0 else "",
        _duration(config.max_age) if config.max_age else "",
    ]
    text = ", ".join(filter(None, limits)) or "none"
    return f"{text}; discard {config.discard}"


def _warnings(config: Config, hold_bytes: int) -> list[str]:
    found = []
    if config.storage != "file":
        found.append("the stream is in memory: a server that ends loses it")
    if config.num_replicas == 1:
        found.append("one replica: what its server loses is shipped again only from files still here")
    if config.is_limited:
        found.append("its limits may delete all messages of a quiet node, whose shipper then goes by its note alone")
    if 0 <= config.max_bytes < hold_bytes:
        found.append(
            f"it keeps {config.max_bytes:,} bytes, fewer than SHIP_HOLD_MB ({hold_bytes:,}) may bring after an outage"
        )
    return found


def _duration(ns: int) -> str:
    seconds = ns / _NS_PER_SEC
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} seconds"
