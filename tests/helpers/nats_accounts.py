"""A server of NATS whose users prove who they are with keys, as in a `.creds` file: what `nsc` would make.

The package nkeys comes with `fastlog-udp[nats]`. Its tests are skipped where it is missing, except in CI.
"""

import base64
import importlib.util
import json
import os
from time import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import nkeys

needs_nkeys = pytest.mark.skipif(
    importlib.util.find_spec("nkeys") is None and os.environ.get("CI") != "true",
    reason="there is no nkeys: pip install nkeys",
)

_NO_LIMITS = {"subs": -1, "data": -1, "payload": -1}


class Accounts:
    """An operator, a system account, and an account with JetStream and one user. `config`: of a server."""

    def __init__(self) -> None:
        operator, system, account, user = (_key(kind) for kind in ("operator", "account", "account", "user"))
        limits = {
            **_NO_LIMITS,
            **dict.fromkeys(("imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams"), -1),
            "consumer": -1,
            "wildcards": True,
        }
        known = [
            f"{_name(key)}: {_token(operator, key, {'type': 'account', 'limits': of, 'default_permissions': {}})}"
            for key, of in ((system, _NO_LIMITS | {"conn": -1}), (account, limits))
        ]
        self.config = "\n".join(
            [
                f"operator: {_token(operator, operator, {'type': 'operator', 'system_account': _name(system)})}",
                f"system_account: {_name(system)}",
                "resolver: MEMORY",
                "resolver_preload: { " + ", ".join(known) + " }",
            ]
        )
        token = _token(account, user, {"type": "user", "pub": {}, "sub": {}, **_NO_LIMITS})
        self.credentials = "\n".join(
            [
                "-----BEGIN NATS USER JWT-----",
                token,
                "------END NATS USER JWT------",
                "",
                "-----BEGIN USER NKEY SEED-----",
                bytes(user.seed).decode(),
                "------END USER NKEY SEED------",
                "",
            ]
        )


def _key(kind: str) -> "nkeys.KeyPair":
    import nkeys

    prefix = getattr(nkeys, f"PREFIX_BYTE_{kind.upper()}")
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), prefix)))


def _name(key: "nkeys.KeyPair") -> str:
    return key.public_key.decode()


def _token(signer: "nkeys.KeyPair", subject: "nkeys.KeyPair", claims: dict) -> str:
    body = {
        "jti": os.urandom(16).hex(),
        "iat": int(time()),
        "iss": _name(signer),
        "sub": _name(subject),
        "name": claims["type"],
        "nats": {**claims, "version": 2},
    }
    text = f"{_encoded(json.dumps({'typ': 'JWT', 'alg': 'ed25519-nkey'}))}.{_encoded(json.dumps(body))}"
    return f"{text}.{_encoded(signer.sign(text.encode()))}"


def _encoded(data: str | bytes) -> str:
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).decode().rstrip("=")
