"""Log entries as applications send them, the same ones in every run; or those of a user's own file."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastlog.loadtest.messages import made_up_fields, made_up_message

SEED = 7
FORMS = ("entry", "rfc3164", "rfc5424")  # in which `write` writes
PRI = {"DEBUG": 135, "INFO": 134, "WARNING": 132, "ERROR": 131, "CRITICAL": 130}  # of local0
FIRST_SEQUENCE = 1_000_000_000  # ten digits, which a sender can count up in place
COUNT = 10_000  # entries of a file; a load sends them in turn


def entry(
    rng: random.Random, number: int, message_bytes: int | None = None, level: str | None = None, **more: object
) -> bytes:
    """`message_bytes`: size of the message; None: as in real logs. `level` None: an ordinary one. `more`: fields that
    are added or replace others."""
    return _encoded({**_fields(rng, number, message_bytes, level), **more})


def write(
    path: Path,
    error_share: float = 0.0,
    message_bytes: int | None = None,
    source: Path | None = None,
    form: str = "entry",
) -> dict[str, Any]:
    """Writes a file of entries, one a line. Returns their number, their mean size and their share of ERROR.

    `message_bytes`: size of each message; None: as in real logs. `source`: a log file; its lines that are entries are
    taken as they are, others become messages. `form`: one of FORMS.
    """
    rng = random.Random(SEED)
    lines = []
    errors = 0
    for fields in _read(source) if source else _made(rng, error_share, message_bytes):
        if source and message_bytes is not None:
            fields["message"] = made_up_message(rng, "web", "INFO", message_bytes)
        if source and rng.random() < error_share:
            fields["level"] = "ERROR"
        errors += fields["level"] == "ERROR"
        lines.append(_encoded(fields) if form == "entry" else _syslog(fields, form))
    if not lines:
        raise SystemExit(f"{source} has no lines")
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return {"entries": len(lines), "mean_bytes": sum(map(len, lines)) / len(lines), "error_share": errors / len(lines)}


def _fields(rng: random.Random, number: int, message_bytes: int | None, level: str | None) -> dict[str, object]:
    return {
        "timestamp": f"2026-11-24T07:{rng.randrange(60):02}:{rng.randrange(60):02}.{rng.randrange(10**6):06}Z",
        "sequence": FIRST_SEQUENCE + number,
        **made_up_fields(rng, level, message_bytes),
        "host": f"node-{rng.randrange(16):02}",
    }


def _made(rng: random.Random, error_share: float, message_bytes: int | None) -> Iterator[dict[str, object]]:
    for number in range(COUNT):
        yield _fields(rng, number, message_bytes, "ERROR" if rng.random() < error_share else None)


def _read(source: Path) -> Iterator[dict[str, object]]:
    for line in source.read_text(errors="replace").splitlines():
        text = line.strip()
        if not text:
            continue
        try:
            fields = json.loads(text)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or not {"level", "message"} <= fields.keys():
            fields = {"level": "INFO", "message": text}
        yield {**fields, "sequence": FIRST_SEQUENCE}


def _syslog(fields: dict[str, Any], form: str) -> bytes:
    """As a syslog daemon forwards it, with a pid."""
    pri, app, message = PRI.get(fields["level"], PRI["INFO"]), fields.get("app", "app"), fields["message"]
    host, moment = fields.get("host", "node-00"), fields.get("timestamp", "2026-11-24T07:00:00.000000Z")
    if form == "rfc5424":
        return f"<{pri}>1 {moment} {host} {app} 4711 - - {message}".encode()
    return f"<{pri}>Nov 24 {moment[11:19]} {host} {app}[4711]: {message}".encode()


def _encoded(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
