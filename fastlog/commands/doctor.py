"""`fastlog doctor`: what is wrong with a server and its machine, or with the way to it, and what mends it."""

import argparse

import msgspec

from fastlog.commands import checks
from fastlog.commands.checks import Finding
from fastlog.commands.terminal import PLAIN, visible, wants_colours
from fastlog.commands.udp_sockets import sockets_on
from fastlog.config import Settings
from fastlog.stats_client import StatsClient, UnreachableError, dashboard_of

COLOURS = {"ok": "\x1b[32m", "note": "\x1b[33m", "unknown": "\x1b[33m", "problem": "\x1b[1;31m"}


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows the findings; returns the exit code: 1 if one is wrong."""
    findings = _client_side(options.server, settings) if options.server else _server_side(options.url, settings)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        colours = wants_colours()
        for finding in findings:
            print(_shown(finding, colours))
    return 1 if any(finding.status == "problem" for finding in findings) else 0


def _client_side(host: str, settings: Settings) -> list[Finding]:
    return [checks.check_answer(host, settings), checks.check_clock()]


def _server_side(url: str | None, settings: Settings) -> list[Finding]:
    client = StatsClient(url or dashboard_of(settings), settings.dashboard_token)
    stats, why_silent = None, ""
    try:
        stats = client.stats()
    except UnreachableError as error:
        why_silent = str(error)
    port = int(stats.settings["SERVER_PORT"]) if stats else settings.server_port
    server = checks.Examined(settings, stats, why_silent, sockets_on(port) if port else [])
    return [
        checks.check_server(server, client.url),
        checks.check_port(server),
        checks.check_receive_buffer(server),
        checks.check_kernel_drops(server),
        *([checks.check_losses(stats)] if stats else []),
        checks.check_directory(server.directory),
        checks.check_sync(server),
        checks.check_space(server),
        checks.check_clock(),
    ]


def _shown(finding: Finding, colours: bool) -> str:
    status = f"{finding.status.upper() if finding.status == 'problem' else finding.status:8}"
    if colours:
        status = f"{COLOURS[finding.status]}{status}{PLAIN}"
    text = f"{status}{finding.subject:15} {visible(finding.text)}"
    return f"{text}\n{'':24}fix: {visible(finding.fix)}" if finding.fix else text
