"""Pictures of the dashboard's page, to look at after a change: each view of a real server, idle, busy, lossy, and with
very long messages. `python -m tests.helpers.pictures DIRECTORY` makes all of them; with `readme` behind it only
docs/dashboard.png.

The past in the charts is made up: the server's own class counts it, and the server finds it in its file. What comes from
then on is real.
"""

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from time import monotonic, sleep, time

from playwright.sync_api import Browser, expect, sync_playwright

from fastlog.entry import LEVELS
from fastlog.server.history import LOSSES, Counters, History
from fastlog.server.history_file import HistoryFile
from fastlog.server.meters import LatencyMeter
from tests.helpers.browser import CHROMIUM
from tests.helpers.running import Server

ROOT = Path(__file__).parents[2]
SCENES = ("idle", "busy", "lossy", "long")
SIZES = ((360, 800), (1280, 860), (1920, 1080))
SHARES = (0.05, 0.82, 0.1, 0.028, 0.002, 0.0)  # of LEVELS
PAST_SEC = 7 * 86_400
RATE = 2_000  # entries a second of the made up past
SEND_SEC = 4.0  # how long real entries are sent
SENDERS = [("web-1", "shop"), ("web-2", "shop"), ("pay-1", "billing"), ("db-1", "orders"), ("edge-1", "gateway")]
TEXTS = [
    "payment provider timed out after {n} ms", "card refused: insufficient funds", "GET /basket 200 in {n} ms",
    "order {n} paid", "cache miss for key basket:{n}", "connection to redis:6379 lost, trying again",
]  # fmt: skip
TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/shop/pay.py", line {n}, in pay\n    charge(order)\n'


def make_past(directory: Path, scene: str, rng: Random) -> None:
    """Writes a history of seven days: a point each half-minute, and each second of the last five minutes."""
    began = time() - PAST_SEC
    history, wall, now = History(began, 0.0), began, 0.0
    levels, losses, acks = [0.0] * len(LEVELS), dict.fromkeys(LOSSES, 0.0), LatencyMeter()
    cpu = restarts = 0.0
    while wall < time() - 3:
        step = 1.0 if wall > time() - 320 else 30.0
        wall, now = wall + step, now + step
        day = 0.65 - 0.35 * math.cos((wall % 86_400) / 86_400 * 2 * math.pi)
        entries = RATE * step * day * rng.uniform(0.9, 1.1) if scene != "idle" else 0.0
        levels = [level + int(entries * share) for level, share in zip(levels, SHARES, strict=True)]
        cpu += step * (0.005 + entries / step / 400_000)
        if scene == "lossy" and rng.random() < 0.02:
            losses[rng.choice(["kernel_drops", "network", "rejected"])] += rng.randrange(1, 200)
            restarts += rng.random() < 0.2
        if entries:
            for _ in range(4):
                acks.add(rng.lognormvariate(0.9, 0.5) / 1000, 1)
        history.add(
            wall, now, Counters(cpu, int(restarts), levels, losses.values(), acks.counts), int(38e6 + 1e6 * day)
        )
    file = HistoryFile(directory / "server.log", history)
    file.load()
    file.finish()


def entries(scene: str, rng: Random, host: str, app: str) -> Iterator[bytes]:
    sequence = 0
    while True:
        sequence += 1 if scene != "lossy" or rng.random() > 0.02 else rng.randrange(2, 9)
        level = rng.choices(LEVELS, SHARES)[0]
        n = rng.randrange(10, 5_000)
        text = rng.choice(TEXTS).format(n=n)
        if level in ("ERROR", "CRITICAL") and rng.random() < 0.4:
            text = TRACEBACK.format(n=n) + "ConnectionError: [Errno 111] Connection refused: redis:6379"
        if scene == "long":
            text = f"{text} " * rng.randrange(1, 80)
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        yield json.dumps(
            {
                "level": level,
                "message": text,
                "sequence": sequence,
                "timestamp": at,
                "app": app,
                "host": host,
                "order": n,
            }
        ).encode()


def send(server: Server, scene: str, rng: Random) -> None:
    """Sends what the scene has; idle: nothing."""
    if scene == "idle":
        return
    clients = [(server.client(), entries(scene, rng, host, app)) for host, app in SENDERS]
    until = monotonic() + SEND_SEC
    while monotonic() < until:
        for client, stream in clients:
            for _ in range(rng.randrange(5, 25)):
                client.send(next(stream))
        if scene == "lossy":
            clients[0][0].send(rng.choice([b"bad", b'{"level":}', b"\xff\xfe{", b'{"level":"INFO"}']))
        sleep(0.04)  # a pace, not a wait for something
    for client, _ in clients:
        client.close()


def take(browser: Browser, server: Server, directory: Path, scene: str, sizes: tuple[tuple[int, int], ...]) -> None:
    gaps = server.stats()["top_senders"]
    address = gaps[0]["address"] if gaps else ""
    for width, height in sizes:
        for scheme in ("light", "dark"):
            size = {"width": width, "height": height}
            context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
            for view in ("overview", "lines", "rejected", f"sender?address={address}"):
                page = context.new_page()
                page.goto(f"http://127.0.0.1:{server.dashboard_port}/#{view}")
                expect(page.locator("body.empty")).to_have_count(0)
                if view == "lines" and scene != "idle":
                    page.wait_for_selector("[data-view=lines] tbody tr")
                name = view.partition("?")[0]
                page.screenshot(path=directory / f"{scene}-{name}-{width}-{scheme}.png", full_page=name != "lines")
                page.close()
            context.close()


def take_readme(browser: Browser, server: Server) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1480}, color_scheme="light", reduced_motion="reduce")
    page.goto(f"http://127.0.0.1:{server.dashboard_port}/")
    expect(page.locator("body.empty")).to_have_count(0)
    page.locator("#chart svg path.curve[d^=M]").wait_for(state="attached")
    page.screenshot(path=ROOT / "docs/dashboard.png")
    page.close()


def main(directory: Path, readme: bool) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for scene in ("lossy",) if readme else SCENES:
            rng = Random(scene)
            with tempfile.TemporaryDirectory(prefix="fastlog-") as log:
                make_past(Path(log), scene, rng)
                server = Server(Path(log), STAMP="always", MAX_LOG_SIZE_MB="10")
                try:
                    send(server, scene, rng)
                    if readme:
                        take_readme(browser, server)
                    else:
                        take(browser, server, directory, scene, SIZES)
                finally:
                    server.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "readme" in sys.argv[2:])
