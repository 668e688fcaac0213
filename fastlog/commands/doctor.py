"""`fastlog doctor`: finds problems of a server, of its machine or of the way to it, and prints how to fix them."""

import argparse
from collections.abc import Callable
from functools import partial

import msgspec

from fastlog.addresses import dashboard_url
from fastlog.commands import alert_checks, checks, ship_checks, space_checks
from fastlog.commands.bound_sockets import BoundSocket, udp_sockets
from fastlog.commands.checks import Examined, Finding
from fastlog.commands.terminal import PLAIN, visible, wants_colours
from fastlog.config import Settings, listen_addresses
from fastlog.stats import Stats
from fastlog.stats_client import StatsClient, UnreachableError

COLOURS = {"ok": "\x1b[32m", "note": "\x1b[33m", "unknown": "\x1b[33m", "problem": "\x1b[1;31m"}

Checks = dict[str, Callable[[], Finding]]  # the check of each subject, in the order in which they are made


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Prints the findings; returns the exit code: 1 if there is a problem."""
    to_make = _client_side(options.server, settings) if options.server else _server_side(options.url, settings)
    findings = [_finding(subject, check) for subject, check in to_make.items()]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        colours = wants_colours()
        for finding in findings:
            print(_shown(finding, colours))
    return 1 if any(finding.status == "problem" for finding in findings) else 0


def _finding(subject: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except OSError as error:
        return checks.unseen(subject, error)


def _client_side(host: str, settings: Settings) -> Checks:
    return {"answer": partial(checks.check_answer, host, settings), "clock": checks.check_clock}


def _server_side(url: str | None, settings: Settings) -> Checks:
    client = StatsClient(
        url or dashboard_url(settings.dashboard_host, settings.dashboard_port), settings.dashboard_token
    )
    stats: Stats | None = None
    silence: UnreachableError | None = None
    try:
        stats = client.stats()
    except UnreachableError as error:
        silence = error
    ports = dict.fromkeys(_ports(settings, stats))
    server = Examined(settings, stats, silence, {port: _sockets_on(port) for port in ports})
    return {
        "server": partial(checks.check_server, server, client.url),
        **{f"port {port}" if len(ports) > 1 else "port": partial(checks.check_port, server, port) for port in ports},
        **({"unix socket": partial(checks.check_unix_socket, server)} if settings.unix_socket or server.unix else {}),
        "receive buffer": partial(checks.check_receive_buffer, server),
        "kernel drops": partial(checks.check_kernel_drops, server),
        **({"losses": partial(checks.check_losses, stats)} if stats else {}),
        "log directory": partial(checks.check_directory, server),
        "sync": partial(checks.check_sync, server),
        "disk space": partial(space_checks.check_space, server),
        **(_of_shipping(server, settings) if ship_checks.is_shipped(server, settings) else {}),
        **(_of_alerts(server, settings) if _has_alerts(server, settings) else {}),
        "clock": checks.check_clock,
    }


def _has_alerts(server: Examined, settings: Settings) -> bool:
    return bool(server.stats.alerts if server.stats else settings.alert_command)


def _of_alerts(server: Examined, settings: Settings) -> Checks:
    return {"alert command": partial(alert_checks.check_alerts, server, settings)}


def _of_shipping(server: Examined, settings: Settings) -> Checks:
    return {
        "ship": partial(ship_checks.check_shipper, server),
        "ship hold": partial(ship_checks.check_hold, server),
        **({"ship engine": partial(ship_checks.check_engine, settings)} if settings.ship_to else {}),
    }


def _ports(settings: Settings, stats: Stats | None) -> list[int]:
    """The UDP ports of the server."""
    if stats is None:
        return [port for _, port in listen_addresses(settings)]
    return [int(listener.address.rpartition(":")[2]) for listener in stats.listeners if listener.kind == "udp"]


def _sockets_on(port: int) -> list[BoundSocket] | None:
    """The sockets bound to the UDP port; None if this user may not see them."""
    try:
        return udp_sockets(port) if port else []
    except OSError:
        return None


def _shown(finding: Finding, colours: bool) -> str:
    status = f"{finding.status.upper() if finding.status == 'problem' else finding.status:8}"
    if colours:
        status = f"{COLOURS[finding.status]}{status}{PLAIN}"
    text = f"{status}{finding.subject:15} {visible(finding.text)}"
    return f"{text}\n{'':24}fix: {visible(finding.fix)}" if finding.fix else text
