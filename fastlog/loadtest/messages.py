"""Made-up log messages that read like those of a web shop's services, with the sizes of real logs: many of about a
hundred bytes, few of some thousand. They depend on the random numbers alone, so the same seed makes the same messages.
"""

import random

MEDIAN_BYTES = 75
SPREAD = 0.75  # standard deviation of the logarithm of a size
MAX_BYTES = 8000

ORDINARY_LEVELS = ("DEBUG", "INFO", "WARNING")
ORDINARY_WEIGHTS = (15, 75, 10)

# By application and level; the names in braces are those of _values.
# fmt: off
TEMPLATES: dict[str, dict[str, tuple[str, ...]]] = {
    "web": {
        "DEBUG": ("cache miss for key item:{number}", "keep-alive connection from {address} reused"),
        "INFO": ("GET /api/v1/items/{number} 200 in {ms} ms", "POST /api/v1/orders 201 in {ms} ms",
                 "GET /static/app.js 304 in {few} ms"),
        "WARNING": ("GET /api/v1/search 200 in {number} ms, slower than 1000 ms",
                    "client {address} closed the connection before the response was sent"),
        "ERROR": ("connection reset by peer while reading response header from upstream {address}:8080",
                  "GET /api/v1/items/{number} 502 in {ms} ms: no live upstream"),
    },
    "shop": {
        "DEBUG": ("price of item {number} computed in {few} ms", "basket of customer {number} loaded"),
        "INFO": ("order {number} placed by {user}: {few} items", "order {number} shipped"),
        "WARNING": ("item {number} is out of stock, order kept as pending", "basket of {user} expired"),
        "ERROR": ("payment of order {number} failed: card declined by the bank",
                  "order {number} not saved: deadlock detected, transaction rolled back"),
    },
    "worker": {
        "DEBUG": ("job {hex} taken from queue mail", "heartbeat sent, {few} jobs waiting"),
        "INFO": ("job {hex} finished in {ms} ms", "{number} rows exported to report-{few}.csv"),
        "WARNING": ("job {hex} failed, retry {few} in {ms} ms", "queue mail holds {number} jobs"),
        "ERROR": ("job {hex} given up after 5 attempts: connection to {address} timed out",
                  "report-{few}.csv not written: no space left on device"),
    },
    "auth": {
        "DEBUG": ("token {hex} verified in {few} ms", "session {hex} refreshed"),
        "INFO": ("session opened for user {user} from {address}", "session closed for user {user}"),
        "WARNING": ("wrong password for user {user} from {address}, attempt {few}",
                    "certificate of auth.example.com expires in {few} days"),
        "ERROR": ("user {user} locked out after {few} attempts from {address}",
                  "directory server {address} does not answer: connection refused"),
    },
    "billing": {
        "DEBUG": ("exchange rates loaded, {number} currencies and dates", "invoice {number} rendered in {ms} ms"),
        "INFO": ("invoice {number} sent to {user}@example.com", "payment of invoice {number} received"),
        "WARNING": ("invoice {number} is {few} days overdue", "reminder for invoice {number} bounced"),
        "ERROR": ("invoice {number} not booked: ledger is locked by another process",
                  "refund of invoice {number} refused: 402 from payment provider"),
    },
}
# fmt: on
APPS = tuple(TEMPLATES)
USERS = ("anna", "bashir", "chen", "dara", "emeka", "fatima", "goran", "hana")
REGIONS = ("eu-central-1", "eu-west-2", "us-east-1", "ap-south-1")


def made_up_fields(rng: random.Random, level: str | None = None, message_bytes: int | None = None) -> dict[str, str]:
    """The level, application and message of an entry. `level` None: one of the ordinary ones, most often INFO.
    `message_bytes`: see `made_up_message`."""
    if level is None:
        level = rng.choices(ORDINARY_LEVELS, ORDINARY_WEIGHTS)[0]
    app = rng.choice(APPS)
    return {"level": level, "app": app, "message": made_up_message(rng, app, level, message_bytes)}


def made_up_message(rng: random.Random, app: str, level: str, size: int | None = None) -> str:
    """A message of that application and level; `size` is its exact number of bytes, None: as in real logs."""
    least = size if size is not None else min(int(rng.lognormvariate(0, SPREAD) * MEDIAN_BYTES), MAX_BYTES)
    values = _values(rng)
    text = rng.choice(TEMPLATES[app][level]).format_map(values)
    for name in ("request", "region", "trace", "user", "attempt"):
        if len(text) >= least:
            break
        text += f" {name}={values[name]}"
    if len(text) < least:
        numbers = (least - len(text)) // 5 + 1  # each takes five bytes
        text += " items=" + ",".join(str(number) for number in rng.choices(range(1000, 10_000), k=numbers))
    return text if size is None else text[:size]


def _values(rng: random.Random) -> dict[str, object]:
    bits = rng.getrandbits(128)
    return {
        "number": 1000 + bits % 9000,
        "ms": 10 + (bits >> 16) % 990,
        "few": 2 + (bits >> 32) % 8,
        "hex": f"{bits >> 96:08x}",
        "address": f"192.0.2.{1 + (bits >> 40) % 254}",
        "user": USERS[(bits >> 48) % len(USERS)],
        "request": f"{(bits >> 56) & 0xFFFFFFFF:08x}",
        "region": REGIONS[(bits >> 52) % len(REGIONS)],
        "trace": f"{bits & 0xFFFFFFFFFFFFFFFF:016x}",
        "attempt": 1 + (bits >> 36) % 3,
    }
