"""The overview of the dashboard's page in a real browser, before a real server."""

import json
import re

import pytest
from playwright.sync_api import expect

from fastlog.segments import identity_of, shipped_path
from tests.helpers.browser import BROWSER_TESTS
from tests.helpers.entries import INFO
from tests.helpers.running import Server, eventually
from tests.helpers.shipping import write_note

pytestmark = BROWSER_TESTS

HOSTILE = ['<img src=x onerror="window.harmed = 1">', "</script><script>window.harmed = 1</script>"]


def digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def shows(page, selector: str, text: str) -> None:
    """Waits until an element's digits are these, whatever separates thousands."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector).textContent.replace(/\\D/g, '') === text",
        arg=[selector, text],
    )


def error(number: int, **fields: str) -> bytes:
    return json.dumps({"level": "ERROR", "message": f"error {number}", "sequence": number, **fields}).encode()


def test_the_figures_follow_what_is_sent(start, open_page):
    server = start()
    page = open_page(server)
    shows(page, "#total", "0")
    assert page.locator(".lost").count() == 0
    server.send([INFO] * 1_200 + [error(7), error(8, app="shop")] + [b"bad"] * 3)
    shows(page, "#total", "1202")
    shows(page, "#loss-rejected", "3")
    page.wait_for_selector("#loss-rejected.lost")
    assert page.locator(".lost").count() == 1
    assert digits(page.locator("#levels [data-level=ERROR] .amount").inner_text()) == "2"
    assert page.locator("#errors tr").count() == 2
    assert page.locator("#loss-network").inner_text() == "0"
    assert page.locator("#senders tr").count() == 1
    server.send([INFO])
    shows(page, "#total", "1203")
    assert page.locator("#uptime").inner_text() != "\u2013"


def test_a_row_has_the_level_that_the_server_sees_in_its_name(start, open_page):
    server = start(PRIORITY_LEVELS="ERROR,CRITICAL,OTHER")
    page = open_page(server)
    names = ["crit", "Emergency", "3", "severe", "custom", "\u017fevere"]
    server.send(error(number, level=name) for number, name in enumerate(names))
    shows(page, "#total", str(len(names)))
    expect(page.locator("#errors tr")).to_have_count(len(names))
    levels = [row.get_attribute("data-level") for row in page.locator("#errors tr").all()]
    assert sorted(levels) == ["CRITICAL", "CRITICAL", "ERROR", "ERROR", "OTHER", "OTHER"]
    counted = server.stats()["level_distribution"]
    assert (counted["CRITICAL"], counted["ERROR"], counted["OTHER"]) == (2, 2, 2)


def test_a_loss_is_shown_under_its_one_cause(start, open_page):
    server = start(RCVBUF_SIZE="1")
    page = open_page(server)
    with server.client() as client:
        client.send(error(1))
        shows(page, "#total", "1")
        with server.stopped():
            for sequence in range(2, 1_001):
                client.send(error(sequence))
        eventually(server.queued, lambda queued: queued == 0)
        client.send(error(1_001))
    stats = eventually(server.stats, lambda stats: stats["losses"]["kernel_drops"] and stats["buffered"] == 0)
    shows(page, "#loss-kernel", str(stats["losses"]["kernel_drops"]))
    shows(page, "#gaps", str(stats["losses"]["kernel_drops"]))
    shows(page, "#loss-network", "0")
    assert [element.get_attribute("id") for element in page.locator(".lost").all()] == ["loss-kernel"]
    expect(page.locator("#verdict")).to_have_text(re.compile(r"^Input lost \d+ s ago$"))


def test_an_old_loss_is_shown_without_alarm(start, open_page):
    server = start()
    server.send([b"bad"])
    page = open_page(server)
    page.wait_for_selector("#loss-rejected.lost")
    assert page.title().startswith("\u26a0")
    expect(page.locator("#state")).to_have_text(re.compile("^ok, input lost "))
    page.route("**/stats", older)
    expect(page.locator("#verdict")).to_have_text("Nothing lost for 2 h")
    page.wait_for_selector("#loss-rejected.past")
    assert page.locator(".lost").count() == 0
    expect(page.locator(".loss:has(#loss-rejected) .when")).to_contain_text("(2 h ago)")
    assert not page.title().startswith("\u26a0")


def older(route) -> None:
    """The server's answer, two hours after its last loss."""
    stats = route.fetch().json()
    ages = stats["losses"]["seconds_since"]
    stats["losses"]["seconds_since"] = {name: age and age + 7_200 for name, age in ages.items()}
    route.fulfill(json=stats)


def test_losses_that_were_seen_alarm_no_more_until_there_are_others(start, open_page):
    server = start()
    server.send([b"bad"] * 2)
    page = open_page(server)
    page.wait_for_selector("#loss-rejected.lost")
    page.get_by_role("button", name="Mark as seen").click()
    expect(page.locator("#loss-rejected")).to_have_class("past")
    expect(page.locator("#verdict")).to_have_text("Nothing new since you marked the losses as seen")
    expect(page.locator("#state")).to_have_text("ok")
    assert not page.title().startswith("\u26a0")
    page.reload()
    expect(page.locator("#verdict")).to_have_text("Nothing new since you marked the losses as seen")
    server.send([b"bad"])
    page.wait_for_selector("#loss-rejected.lost")
    expect(page.locator(".loss:has(#loss-rejected) .when")).to_contain_text("1 not seen")
    page.keyboard.press("s")
    expect(page.locator("#seen")).to_be_hidden()


def test_losses_of_another_run_of_the_server_were_not_seen(start, tmp_path, open_page, closing):
    server = start()
    server.send([b"bad"] * 2)
    page = open_page(server)
    page.locator("#seen").click()
    expect(page.locator("#seen")).to_be_hidden()
    server.stop()
    again = closing(Server(tmp_path, DASHBOARD_PORT=str(server.dashboard_port)))
    again.send([b"bad"])
    page.wait_for_selector("#loss-rejected.lost")
    expect(page.locator("#seen")).to_be_visible()
    page.complaints.clear()


def test_shipping_is_shown_where_somebody_ships(start, tmp_path, open_page):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="1", SHIP_HOLD_MB="0.003", FLUSH_COUNT="1")
    page = open_page(server)
    server.send([INFO] * 10)
    shows(page, "#total", "10")
    for hidden in ("#loss-unshipped", "#ship-lag", "#ship-problem"):
        expect(page.locator(hidden)).to_be_hidden()
    write_note(tmp_path / "server.log", 1, problem="the <b>engine</b> is away")
    expect(page.locator("#ship-problem")).to_have_text("the <b>engine</b> is away")
    expect(page.locator("#ship-lag")).to_have_text(re.compile(r"^310\sB, \d+ s old$"))
    shows(page, "#loss-unshipped", "0")
    server.send([INFO] * 1_000)
    page.wait_for_selector("#loss-unshipped.lost")
    lost = eventually(server.stats, lambda stats: stats["losses"]["unshipped"] > 800)["losses"]["unshipped"]
    shows(page, "#loss-unshipped", str(lost))
    segment = identity_of(tmp_path / "server.log").segment
    write_note(tmp_path / "server.log", segment, (tmp_path / "server.log").stat().st_size)
    expect(page.locator("#ship-lag")).to_have_text("nothing")
    expect(page.locator("#ship-problem")).to_have_text("working")
    shipped_path(tmp_path / "server.log").unlink()
    expect(page.locator("#ship-problem")).to_have_text("nobody ships")


def test_archives_are_shown_with_what_was_deleted(start, open_page):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="2", FLUSH_COUNT="1")
    page = open_page(server)
    server.send([INFO] * 1_000)
    expect(page.locator("#archives")).to_have_text(re.compile(r"^2, [\d.]+\s(kB|B); \d+ deleted$"))


def test_latencies_before_the_first_ack_are_none_yet(start, open_page):
    server = start()
    page = open_page(server)
    assert page.locator("#acks .trine dd").all_inner_texts() == ["none yet"] * 3
    server.send([error(1)])
    expect(page.locator("#acks .trine dd").first).to_have_text(re.compile(r"^[\d.]+\sms$"))


def test_a_traceback_is_shown_by_what_happened(start, open_page):
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f()\n'
    chained = f"{trace}KeyError: 1\n\nDuring handling of the above exception, another one occurred:\n\n{trace}"
    server = start()
    page = open_page(server)
    server.send([
        error(1, message=f"{trace}ValueError: no\nmore"),
        error(2, message=f"it failed\n{chained}OSError: gone"),
        error(3, message="it failed", traceback=f"{trace}ValueError: no"),
        error(4, message=f"{trace}"),
    ])  # fmt: skip
    page.wait_for_selector("#errors tr >> nth=3")
    texts = page.locator("#errors .message .text")
    assert texts.all_text_contents() == [
        trace.rstrip("\n") + "\n", "ValueError: no\nit failed", "OSError: gone\nit failed", "ValueError: no\nmore"
    ]  # fmt: skip
    page.locator("#errors .more").last.click()
    assert texts.last.text_content() == f"{trace}ValueError: no\nmore"


def test_equal_errors_are_one_row_with_their_number(start, open_page):
    server = start()
    page = open_page(server)
    server.send([error(1, timestamp="2026-11-24T07:00:00Z"), error(2), error(3, message="another"), error(40)])
    rows = page.locator("#errors tr:visible")
    expect(rows).to_have_count(2)
    expect(rows.first.locator(".text")).to_have_text("error 40")
    expect(rows.first.locator(".times")).to_have_text("\u00d73, first 11-24 07:00")
    expect(page.locator("#shown")).to_have_text("4, 2 different")
    rows.first.locator(".times").click()
    expect(rows).to_have_count(4)
    rows.first.locator(".times").click()
    expect(rows).to_have_count(2)
    page.locator("#group").uncheck()
    expect(rows).to_have_count(4)
    page.reload()
    expect(rows).to_have_count(4)


def test_recent_errors_say_of_how_many_they_are_the_newest(start, open_page):
    server = start(MAX_ERRORS="2")
    page = open_page(server)
    server.send([error(1), error(2)])
    expect(page.locator("#shown")).to_have_text("2, 1 different")
    server.send([error(number) for number in range(3, 1_501)])
    expect(page.locator("#shown")).to_have_text("newest 2 of 1,500, 1 different")


def test_who_sent_an_error_and_when_is_shown_where_it_does_not_say_so(start, open_page):
    server = start(STAMP="missing")
    page = open_page(server)
    server.send([b'{"level":"ERROR","message":"m","host":""}'])
    row = page.locator("#errors tr")
    expect(row.locator(".host")).to_have_text(re.compile(r"^127\.0\.0\.1:\d+$"))
    expect(row.locator(".timestamp")).to_have_text(re.compile(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$"))
    row.locator(".more").click()
    assert row.locator(".fields dt").all_inner_texts() == ["host", "received"]


@pytest.mark.parametrize(
    ("zone", "shown", "time"),
    [("UTC", "UTC", "07:00:00.123"), ("Asia/Kolkata", "UTC+5:30", "12:30:00.123"),
     ("America/Caracas", "UTC\u22124", "03:00:00.123")],
)  # fmt: skip
def test_times_say_their_zone_and_change_to_utc_at_a_click(start, browser, zone, shown, time):
    server = start()
    server.send([error(1, timestamp="2026-11-24T07:00:00.123456Z"), error(2, timestamp="yesterday", app="shop")])
    context = browser.new_context(timezone_id=zone)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.dashboard_port}/")
    expect(page.locator("#updated")).to_have_text(re.compile(rf"^\d\d:\d\d:\d\d {re.escape(shown)}$"))
    expect(page.locator("#figures th.timestamp")).to_have_text(f"Time, {shown}")
    expect(page.locator("#errors .timestamp")).to_have_text(["yesterday", f"2026-11-24 {time}"])
    page.locator("#zone-button").click()
    page.reload()
    expect(page.locator("#updated")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d UTC$"))
    expect(page.locator("#errors .timestamp").last).to_have_text("2026-11-24 07:00:00.123")
    page.keyboard.press("u")
    expect(page.locator("#errors .timestamp").last).to_have_text(f"2026-11-24 {time}")
    context.close()


def test_log_text_is_shown_as_text(start, open_page):
    server = start()
    page = open_page(server)
    server.send(error(n, message=text, app=text, host=text, timestamp=text) for n, text in enumerate(HOSTILE))
    page.wait_for_selector("#errors tr")
    rows = page.locator("#errors tr")
    for row, text in zip((1, 0), HOSTILE, strict=True):  # the newest on top
        for column in ("timestamp", "app", "host", "message"):
            assert text in rows.nth(row).locator(f".{column}").first.text_content()
    assert page.evaluate("window.harmed") is None
    assert page.locator("#errors img, #errors script").count() == 0


def test_a_sequence_is_shown_exactly(start, open_page):
    server = start()
    page = open_page(server)
    server.send([error(18446744073709551615, app="a"), error(9007199254740993, app="b")])
    page.wait_for_selector("#errors tr")
    for more in page.locator("#errors .more").all():
        more.click()
    assert page.locator("#errors .fields dd").all_inner_texts() == ["9007199254740993", "18446744073709551615"]


def test_the_filter_keeps_what_matches_and_stays_while_entries_come(start, open_page):
    server = start()
    page = open_page(server)
    page.locator("#group").uncheck()
    server.send([error(1, app="shop"), error(2, app="web"), error(3, app="shop")])
    page.wait_for_selector("#errors tr >> nth=2")
    page.keyboard.press("/")
    page.keyboard.type("SHOP")
    assert page.locator("#errors tr:visible").count() == 2
    server.send([error(4, app="web"), error(5, app="shop")])
    page.wait_for_selector("#errors tr >> nth=4", state="attached")
    assert page.locator("#errors tr:visible").count() == 3
    assert page.locator("#filter").input_value() == "SHOP"
    page.keyboard.press("Escape")
    assert page.locator("#errors tr:visible").count() == 5


def test_the_page_survives_a_restart_of_the_server(start, tmp_path, open_page, closing):
    server = start()
    server.send([INFO] * 5)
    page = open_page(server)
    shows(page, "#total", "5")
    server.stop()
    expect(page.locator("#banner")).to_have_text(re.compile("^No answer since "))
    assert page.title() == "offline · fastlog"
    # a server that is gone makes the browser complain of failed requests, and of nothing else
    assert all("ERR_CONNECTION_REFUSED" in complaint for complaint in page.complaints)
    again = closing(Server(tmp_path, DASHBOARD_PORT=str(server.dashboard_port)))
    again.send([INFO])
    shows(page, "#total", "1")
    expect(page.locator("#banner")).to_have_text("")
    page.complaints.clear()


def test_a_token_is_asked_for_by_the_browser(start, browser):
    server = start(DASHBOARD_TOKEN="correct-horse-battery-staple")
    context = browser.new_context(http_credentials={"username": "me", "password": "correct-horse-battery-staple"})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.dashboard_port}/")
    server.send([INFO] * 3)
    shows(page, "#total", "3")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_at_any_width(start, browser, scheme, width):
    server = start(RCVBUF_SIZE="1073741824")
    long = "x" * 3000
    server.send([INFO, b"bad", error(1, app=long, host=long, message=long, timestamp=long), error(2)])
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.dashboard_port}/")
    page.wait_for_selector("#errors tr >> nth=1")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
