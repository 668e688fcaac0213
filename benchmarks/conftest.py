"""Entries as applications send them: the same ones in every run."""

import json
import random

import pytest

# fmt: off
WORDS = [
    "connection", "reset", "by", "peer", "while", "reading", "response", "header", "from", "upstream", "configure",
    "installed", "status", "half-configured", "session", "opened", "for", "closed", "timeout", "payment",
    "order", "customer", "GET", "POST", "/api/v1/items", "200", "404", "502", "libssl3", "amd64", "kernel", "eth0",
]
# fmt: on


def entry(rng: random.Random, number: int, words: int, **more: object) -> bytes:
    fields = {
        "timestamp": f"2026-11-24T07:{rng.randrange(60):02}:{rng.randrange(60):02}.{rng.randrange(10**6):06}Z",
        "sequence": 1_000_000_000 + number,
        "app": rng.choice(["web", "shop", "worker"]),
        "level": rng.choices(["DEBUG", "INFO", "WARNING"], [2, 7, 1])[0],
        "message": " ".join(rng.choices(WORDS, k=words)),
        "host": f"node-{rng.randrange(16):02}",
    }
    return json.dumps({**fields, **more}, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.fixture(scope="session")
def corpus() -> list[bytes]:
    rng = random.Random(7)
    return [entry(rng, number, max(3, int(rng.lognormvariate(2.5, 0.6)))) for number in range(10_000)]
