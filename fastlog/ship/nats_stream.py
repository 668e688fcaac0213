"""The stream that is shipped to: what it is, what it must be, how it is made, and its last message of a subject."""

import base64
from typing import NamedTuple, TypeVar

import msgspec

from fastlog.segments import Position, position_from
from fastlog.ship.nats_link import Answer, Link
from fastlog.ship.sink import RefusedError, UnavailableError

SUBJECTS = "fastlog.>"  # of a stream that we make: those of all nodes
REPLICAS = 3  # of a stream that we make, where there is a cluster
DUPLICATE_WINDOW_NS = 120 * 10**9  # of a stream that we make: the server's own default

# Error codes of JetStream (`server/errors.json` of nats-server).
NO_PEERS = 10005
NO_MESSAGE = 10037
NOT_FOR_ACCOUNT = 10039
MESSAGE_TOO_LARGE = 10054
NO_STREAM = 10059
OTHER_STREAM = 10060
OVERLAP = 10065
NO_REPLICAS = 10074
NOT_ENABLED = 10076
SEALED = 10109
WRONG_LAST = (10071, 10164)  # of the subject; the second one while another message of it is under way
NO_RESPONDERS = "503"

POSITION_HEADER = "Fastlog-Pos"
LINES_HEADER = "Fastlog-Lines"
RUN_HEADER = "Fastlog-Run"
ID_HEADER = "Nats-Msg-Id"


T = TypeVar("T")


class ApiError(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class Config(msgspec.Struct, frozen=True):
    """Of a stream. Sizes in bytes, -1: no limit; times in ns, 0: no limit."""

    subjects: list[str] = []
    retention: str = "limits"
    storage: str = "file"
    discard: str = "old"
    max_bytes: int = -1
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    max_age: int = 0
    max_msg_size: int = -1
    num_replicas: int = 1
    duplicate_window: int = 0
    no_ack: bool = False
    sealed: bool = False
    mirror: dict[str, object] | None = None
    subject_transform: dict[str, object] | None = None
    subject_delete_marker_ttl: int = 0  # ns

    @property
    def is_limited(self) -> bool:
        """Whether it may delete old messages by itself."""
        counted = max(self.max_bytes, self.max_msgs) >= 0 or self.max_msgs_per_subject > 0
        return self.max_age > 0 or (counted and self.discard == "old")


class State(msgspec.Struct, frozen=True):
    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0


class Peer(msgspec.Struct, frozen=True):
    name: str = ""
    current: bool = False
    offline: bool = False


class Cluster(msgspec.Struct, frozen=True):
    name: str = ""
    leader: str = ""
    replicas: list[Peer] = []


class Info(msgspec.Struct, frozen=True):
    config: Config = Config()
    state: State = State()
    cluster: Cluster | None = None
    error: ApiError | None = None


class Ack(msgspec.Struct, frozen=True):
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class _Stored(msgspec.Struct, frozen=True):
    seq: int
    hdrs: str = ""  # base64
    data: str = ""  # the same


class _Found(msgspec.Struct, frozen=True):
    message: _Stored | None = None
    error: ApiError | None = None


class Last(NamedTuple):
    """The newest message of our subject."""

    sequence: int
    position: Position | None  # None: it is not of `fastlog ship`
    run: str
    lines: bytes


class StreamError(Exception):
    """JetStream's answer was an error."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(f"{error.description or 'an error without a text'} ({error.err_code or error.code})")
        self.error = error


class Stream:
    """Asks about one stream, through a link. Raises UnavailableError, and StreamError."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self.name = name

    def info(self) -> Info:
        info = decode(self._ask("INFO", b""), Info)
        if info.error is not None:
            raise StreamError(info.error)
        return info

    def create(self) -> None:
        """In a cluster with three replicas. A server that is full refuses new lines, rather than delete old ones."""
        for replicas in (REPLICAS, 1) if self._link.clustered else (1,):
            made = decode(self._ask("CREATE", msgspec.json.encode(self._wanted(replicas))), Info)
            if made.error is None:
                return
            if made.error.err_code not in (NO_PEERS, NO_REPLICAS) or replicas == 1:
                raise StreamError(made.error)

    def last(self, subject: str) -> Last | None:
        """By the stream's leader: a replica that is behind would have us ship twice."""
        question = msgspec.json.encode({"last_by_subj": subject})
        found = decode(self._ask("MSG.GET", question), _Found)
        if found.error is not None:
            if found.error.err_code == NO_MESSAGE:
                return None
            raise StreamError(found.error)
        if found.message is None:
            raise UnavailableError("the answer about the last message has none")
        headers = _headers(base64.b64decode(found.message.hdrs))
        return Last(
            found.message.seq,
            position_from(headers.get(POSITION_HEADER, "")),
            headers.get(RUN_HEADER, ""),
            base64.b64decode(found.message.data),
        )

    def _ask(self, what: str, payload: bytes) -> Answer:
        answer = self._link.request(f"$JS.API.STREAM.{what}.{self.name}", payload)
        if answer.status == NO_RESPONDERS:
            raise StreamError(ApiError(503, NOT_ENABLED, "the server has no JetStream"))
        return answer

    def _wanted(self, replicas: int) -> dict[str, object]:
        return {
            "name": self.name,
            "subjects": [SUBJECTS],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": replicas,
            "duplicate_window": DUPLICATE_WINDOW_NS,
        }


def decode(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnavailableError(f"an answer of NATS cannot be read: {error}") from error


def captures(subjects: list[str], subject: str) -> bool:
    """Whether one of a stream's subjects covers this one: `*` stands for a token, `>` for one or more at the end."""
    tokens = subject.split(".")
    return any(_covers(pattern.split("."), tokens) for pattern in subjects)


def _covers(pattern: list[str], tokens: list[str]) -> bool:
    if pattern[-1] == ">":
        if len(tokens) < len(pattern):
            return False
        pattern, tokens = pattern[:-1], tokens[: len(pattern) - 1]
    return len(pattern) == len(tokens) and all(a in ("*", b) for a, b in zip(pattern, tokens, strict=True))


def objection(config: Config, name: str, subject: str) -> str:
    """Why lines cannot be shipped exactly once into such a stream; empty: they can."""
    add = f"nats stream edit {name} --subjects '{','.join([*config.subjects, SUBJECTS])}'"
    found = {
        "is a mirror of another one; ship to that": config.mirror is not None,
        "is sealed": config.sealed,
        "acknowledges nothing (no_ack)": config.no_ack,
        f"deletes what was consumed (retention {config.retention}); it must have limits": config.retention != "limits",
        "changes subjects (subject_transform)": config.subject_transform is not None,
        "leaves markers for what it deletes (subject_delete_marker_ttl)": config.subject_delete_marker_ttl > 0,
        f"does not take the subject {subject}; to add it: {add}": not captures(config.subjects, subject),
    }
    return next((f"the stream {name} {text}" for text, applies in found.items() if applies), "")


def refusal(error: StreamError, name: str) -> RefusedError | None:
    """For an error at the start that an administrator has to mend; None: it may heal by itself."""
    code = error.error.err_code
    if code == NO_STREAM:
        return RefusedError(f"there is no stream {name}; `fastlog ship --create` makes one")
    if code in (NOT_ENABLED, NOT_FOR_ACCOUNT):
        where = "this account" if code == NOT_FOR_ACCOUNT else "this server"
        return RefusedError(f"{where} has no JetStream, where a stream could be: {error}")
    if code == OVERLAP:
        return RefusedError(f"another stream has subjects of {SUBJECTS} already; ship to that, or give it others")
    return None


def _headers(text: bytes) -> dict[str, str]:
    """Of a message, in NATS' form: a first line, and then a name and its value on each."""
    pairs = (line.partition(":") for line in text.decode("utf-8", "replace").split("\r\n")[1:])
    return {name.strip(): value.strip() for name, _, value in pairs}
