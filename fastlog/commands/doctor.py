"""`fastlog doctor`: what is wrong with a server and its machine, or with the way to it, and what mends it."""

import argparse

import msgspec

from fastlog.addresses import dashboard_url
from fastlog.commands import checks
from fastlog.commands.checks import Finding
from fastlog.commands.terminal import PLAIN, visible, wants_colours
from fastlog.commands.udp_sockets import sockets_on
from fastlog.config import Settings
from fastlog.stats_client import Inquiry, UnreachableError

COLOURS = {"ok": "\x1b[32m", "note": "\x1b[33m", "unknown": "\x1b[33m", "wrong": "\x1b[1;31m"}


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows the findings; returns the exit code: 1 if one is wrong."""
    findings = _client_side(options.server, settings) if options.server else _server_side(options.url, settings)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        colours = wants_colours()
        for finding in findings:
            print(_shown(finding, colours))
    return 1 if any(finding.status == "wrong" for finding in findings) else 0


def _client_side(host: str, settings: Settings) -> list[Finding]:
    return [checks.check_answer(host, settings), checks.check_clock()]


def _server_side(url: str | None, settings: Settings) -> list[Finding]:
    inquiry = Inquiry(url or dashboard_url(settings.dashboard_host, settings.dashboard_port), settings.dashboard_token)
    stats, why_silent = None, ""
    try:
        stats = inquiry.everything()
    except UnreachableError as error:
        why_silent = str(error)
    port = int(stats.settings["SERVER_PORT"]) if stats else settings.server_port
    server = checks.Server(settings, stats, why_silent, sockets_on(port) if port else [])
    return [
        checks.check_server(server, inquiry.url),
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
    status = f"{finding.status.upper() if finding.status == 'wrong' else finding.status:8}"
    if colours:
        status = f"{COLOURS[finding.status]}{status}{PLAIN}"
    text = f"{status}{finding.subject:15} {visible(finding.text)}"
    return f"{text}\n{'':24}mend: {visible(finding.mend)}" if finding.mend else text
