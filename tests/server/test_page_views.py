"""The views of the dashboard's page besides the overview, and what holds for each view: in a real browser, before a real
server."""

import json
import re
from urllib.parse import parse_qs

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.helpers.browser import BROWSER_TESTS
from tests.helpers.entries import INFO
from tests.helpers.running import Server, eventually

pytestmark = BROWSER_TESTS

HOSTILE = '<img src=x onerror="window.harmed = 1"></script><script>window.harmed = 1</script>\u202e'
VIEWS = ["overview", "lines", "rejected", "sender"]


def entry(message: str, **fields: str | int) -> bytes:
    return json.dumps({"level": "INFO", "message": message, **fields}).encode()


@pytest.fixture
def open_view(page):
    """Opens a view of a server's page."""

    def open_it(server, view: str):
        page.goto("about:blank")
        page.goto(f"http://127.0.0.1:{server.dashboard_port}/#{view}")
        expect(page.locator("#updated")).not_to_have_text("\u2013")
        return page

    return open_it


def texts(page, view: str = "lines"):
    return page.locator(f"[data-view={view}] tbody .text")


def mode(page, view: str = "lines"):
    return page.locator(f"[data-view={view}] .mode")


def test_an_error_sent_while_the_live_view_is_open_is_in_it(start, open_view):
    server = start()
    server.send([entry("before")])
    page = open_view(server, "lines")
    expect(texts(page)).to_have_text(["before"])
    expect(mode(page)).to_have_text("live")
    server.send([entry("it failed", level="ERROR")])
    expect(texts(page)).to_have_text(["before", "it failed"])
    assert page.locator("[data-view=lines] tbody tr").last.get_attribute("data-level") == "ERROR"


def test_the_live_view_survives_a_restart_of_the_server(start, tmp_path, open_view, closing):
    server = start()
    server.send([entry("one")])
    page = open_view(server, "lines")
    expect(texts(page)).to_have_text(["one"])
    server.stop()
    expect(mode(page)).to_have_text("no answer, trying again")
    again = closing(Server(tmp_path, DASHBOARD_PORT=str(server.dashboard_port)))
    again.send([entry("two")])
    expect(texts(page)).to_have_text(["one", "two"])
    expect(mode(page)).to_have_text("live")
    page.complaints.clear()


def test_from_gaps_to_the_lines_of_the_sender_in_two_clicks(start, open_view):
    server = start(STAMP="always")
    with server.client() as lossy, server.client() as other:
        for sequence in (1, 2, 180):
            lossy.send(entry(f"of the lossy one {sequence}", sequence=sequence, app="shop", host="web-1"))
        other.send(entry("of another one"))
        address = f"127.0.0.1:{lossy.getsockname()[1]}"
    eventually(server.stats, lambda stats: stats["losses"]["sequence_gaps"] == 177 and stats["buffered"] == 0)
    page = open_view(server, "overview")
    page.locator("#gaps-by-sender a").click()
    expect(page.locator("#sender-address")).to_have_text(address)
    expect(page.locator("#sender-facts")).to_contain_text("Gaps177")
    expect(page.locator("#sender-said")).to_have_text("web-1 · shop")
    expect(page.locator("#sender-gaps div")).to_have_count(1)
    page.locator("#sender-lines").click()
    expect(texts(page)).to_have_text([f"of the lossy one {sequence}" for sequence in (1, 2, 180)])
    assert page.url.endswith(f"#lines?source={address.replace(':', '%3A')}")
    page.go_back()
    expect(page.locator("#sender-title")).to_be_visible()
    page.go_back()
    expect(page.locator("#gaps-by-sender")).to_be_visible()


def test_the_address_holds_the_view_and_its_filters(start, open_view):
    server = start(FLUSH_COUNT="1")
    server.send(
        [entry("mine", app="shop", level="WARNING"), entry("no", app="web", level="WARNING"), entry("nor", app="shop")]
    )
    page = open_view(server, "lines?level=WARNING&app=shop")
    expect(texts(page)).to_have_text(["mine"])
    assert page.locator("[data-view=lines] [name=app]").input_value() == "shop"
    page.locator("[data-view=lines] [name=level]").select_option("")
    expect(texts(page)).to_have_text(["mine", "nor"])
    page.locator("[data-view=lines] .app a", has_text="shop").first.click()
    assert page.url.endswith("#lines?app=shop")
    page.locator("[data-view=lines] [name=text]").fill("MIN")
    page.keyboard.press("Enter")
    expect(texts(page)).to_have_text(["mine"])
    page.go_back()
    expect(texts(page)).to_have_text(["mine", "nor"])


def test_a_level_and_a_reject_reason_open_their_lines(start, open_view):
    server = start(FLUSH_COUNT="1")
    server.send([INFO, entry("careful", level="WARNING"), b"bad"])
    page = open_view(server, "overview")
    page.locator("#levels a", has_text="WARNING").click()
    expect(texts(page)).to_have_text(["careful"])
    page.keyboard.press("o")
    page.locator("#rejected-by-reason a").click()
    expect(texts(page, "rejected")).to_have_text(["bad"])
    expect(page.locator("[data-view=rejected] tbody .reason")).to_have_text("syntax")
    assert page.locator("[data-view=rejected] [name=reason]").input_value() == "syntax"
    page.locator("[data-view=rejected] .more").click()
    expect(page.locator("[data-view=rejected] .fields")).to_contain_text("datagram_bytes3")


def test_rejected_bytes_that_are_not_text_are_shown_as_such(start, open_view):
    server = start()
    server.send([b"\xff\x00{", HOSTILE.encode()])
    page = open_view(server, "rejected")
    expect(texts(page, "rejected")).to_have_count(2)
    assert texts(page, "rejected").all_text_contents() == ["\\xff\u2400{", HOSTILE.replace("\u202e", "\\u202E")]
    assert page.evaluate("window.harmed") is None


def test_who_scrolls_up_pauses_the_live_view_and_is_told_how_many_wait(start, open_view):
    server = start(FLUSH_COUNT="1")
    server.send([entry(f"line {number}") for number in range(100)])
    page = open_view(server, "lines")
    expect(texts(page)).to_have_count(100)
    scroller = page.locator("[data-view=lines] .scroller")
    scroller.evaluate("element => { element.scrollTop = 0; }")
    expect(mode(page)).to_have_text("paused, 0 wait")
    server.send([entry("new"), entry("newer")])
    expect(mode(page)).to_have_text("paused, 2 wait")
    expect(texts(page)).to_have_count(100)
    page.keyboard.press("e")
    expect(texts(page)).to_have_count(102)
    expect(mode(page)).to_have_text("live")
    page.keyboard.press("p")
    expect(mode(page)).to_have_text("paused, 0 wait")
    page.locator("[data-view=lines] .pause").click()
    expect(mode(page)).to_have_text("live")


def test_the_live_view_says_which_share_it_shows(start, open_view):
    server = start(FLUSH_COUNT="1000")
    page = open_view(server, "lines")
    expect(mode(page)).to_have_text("live")
    server.send([entry(f"line {number}") for number in range(5_000)])
    expect(mode(page)).to_have_text(re.compile(r"^live · 1 of (about )?[\d,]+ shown$"))


def test_a_range_of_time_is_searched_in_the_log(start, open_view):
    server = start(FLUSH_COUNT="1")
    server.send([entry("early", timestamp="2026-11-24T07:00:00Z"), entry("late", timestamp="2026-11-24T09:00:00Z")])
    page = open_view(server, "lines?since=2026-11-24T06:59:00Z&until=2026-11-24T07:01:00Z")
    expect(texts(page)).to_have_text(["early"])
    expect(mode(page)).to_have_text("1 line, all that match")
    expect(page.locator("[data-view=lines] .pause")).to_be_hidden()
    page.locator("[data-view=lines] [name=last]").select_option("live")
    expect(texts(page)).to_have_text(["early", "late"])


def test_a_moment_of_the_chart_opens_its_minute(start, open_view):
    server = start()
    server.send([INFO])
    page = open_view(server, "overview")
    page.wait_for_selector("#moment:not([aria-valuemax='0'])")
    page.locator("#moment").focus()
    page.keyboard.press("End")
    expect(page.locator("#chart .readout")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d · received [\d.]+/s"))
    page.keyboard.press("Enter")
    expect(page.locator("#lines-title")).to_be_visible()
    asked = parse_qs(page.url.partition("?")[2])
    assert list(asked) == ["since", "until"]
    seconds = page.evaluate(
        "([from, to]) => (Date.parse(to) - Date.parse(from)) / 1000", [asked["since"][0], asked["until"][0]]
    )
    assert seconds == 60
    expect(mode(page)).to_have_text(re.compile("all that match$"))


def test_the_chart_has_ranges_and_shows_losses_and_starts(start, open_view):
    server = start()
    server.send([INFO, b"bad", b"bad"])
    page = open_view(server, "overview")
    for label in ("5 min", "1 h", "24 h", "7 days"):
        page.locator("#ranges button", has_text=label).first.click()
        expect(page.locator("#loss-ticks li")).to_have_text(re.compile(r"^rejected\s+2$"))
        expect(page.locator("#marks .start")).to_have_count(1)
    assert page.locator("#ranges [aria-pressed=true]").inner_text() == "7 days"


def test_a_line_is_copied_and_downloaded_exactly(start, open_view, page):
    server = start()
    sent = '{"level":"ERROR","message":"m","sequence":18446744073709551615}'
    server.send([sent.encode()])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_view(server, "lines")
    expect(texts(page)).to_have_text(["m"])
    page.locator("[data-view=lines] .more").click()
    page.locator("[data-view=lines] .copy").click()
    expect(page.locator("[data-view=lines] .copy")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == sent
    with page.expect_download() as download:
        page.locator("[data-view=lines] .download").click()
    assert download.value.path().read_text() == sent + "\n"


def test_text_of_strangers_is_text_in_each_view(start, open_view):
    server = start(STAMP="always")
    server.send(
        [
            entry(HOSTILE, level="ERROR", app=HOSTILE, host=HOSTILE, timestamp=HOSTILE, **{HOSTILE: HOSTILE}),
            b"x" + HOSTILE.encode(),
        ]
    )
    address = eventually(lambda: server.stats()["top_senders"], len)[0]["address"]
    shown = HOSTILE.replace("\u202e", "\\u202E")
    for view in ("overview", "lines", f"lines?app={HOSTILE}", "rejected", f"sender?address={address}"):
        page = open_view(server, view)
        expect(page.locator("tbody .text:visible").first).to_contain_text(shown)
        page.locator(".more:visible").first.click()
        assert page.locator("main img, main script").count() == 0
        assert page.evaluate("window.harmed") is None
    for view in (f"lines?text={HOSTILE}", f"{HOSTILE}?x"):
        assert open_view(server, view).evaluate("window.harmed") is None


def test_keys_are_listed_and_work(start, open_view):
    page = open_view(start(), "overview")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("l")  # not for the page beneath
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    expect(page.locator("#flow-title")).to_be_visible()
    for key, title in (("l", "#lines-title"), ("r", "#rejected-title"), ("o", "#flow-title")):
        page.keyboard.press(key)
        expect(page.locator(title)).to_be_visible()
    page.keyboard.press("l")
    page.keyboard.press("/")
    page.keyboard.type("?or")  # into the field
    expect(page.locator("[data-view=lines] [name=text]")).to_have_value("?or")
    listed = set(page.locator("#help kbd").all_text_contents())
    assert {
        key
        for element in page.locator("[aria-keyshortcuts]").all()
        for key in element.get_attribute("aria-keyshortcuts").split()
    } <= listed


def test_a_view_that_the_server_refuses_says_why(start, open_view):
    page = open_view(start(), "lines?level=ERORR")
    expect(mode(page)).to_contain_text("level")
    expect(mode(page)).to_contain_text("trying again")
    page.complaints.clear()  # the browser complains of the answer


@pytest.mark.parametrize("view", ["toString", "__proto__?a=b", "lines?since=99999999999999999999", "lines?text=a%0Ab"])
def test_a_strange_link_opens_a_page_that_works(start, open_view, view):
    page = open_view(start(), view)
    expect(page.locator("[data-view]:visible")).to_have_count(1)
    page.keyboard.press("o")
    expect(page.locator("#flow-title")).to_be_visible()
    page.complaints = [complaint for complaint in page.complaints if "400" not in complaint]  # to a time without sense


def test_a_form_keeps_what_the_link_has_and_it_cannot_show(start, open_view):
    given = "level=ERROR%2CINFO&since=2026-11-24T07%3A00%3A00.250Z&until=2026-11-24T07%3A00%3A01.750Z"
    page = open_view(start(), f"lines?{given}")
    page.locator("[data-view=lines] [name=app]").fill("shop")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("app=shop"))
    asked = parse_qs(page.url.partition("?")[2])
    assert asked == parse_qs(given) | {"app": ["shop"]}


def test_who_types_while_there_is_no_answer_is_not_disturbed(start, page, open_view):
    page.clock.install()
    open_view(start(), "lines?level=ERORR")
    expect(mode(page)).to_contain_text("ERORR")
    page.locator("[data-view=lines] [name=text]").fill("half a wo")
    with page.expect_request("**/tap?**"):
        page.clock.fast_forward(3_000)
    assert page.locator("[data-view=lines] [name=text]").input_value() == "half a wo"
    page.complaints.clear()  # the browser complains of the answer


def test_the_share_is_told_no_more_once_nothing_comes(start, page, open_view):
    page.clock.install()
    server = start(FLUSH_COUNT="1000")
    open_view(server, "lines")
    server.send([entry(f"line {number}") for number in range(5_000)])
    expect(mode(page)).to_contain_text("shown")
    eventually(server.stats, lambda stats: stats["stored"] == 5_000)
    expect(texts(page).last).to_have_text("line 4999")
    page.clock.fast_forward(10_000)
    expect(mode(page)).to_have_text("live")


def test_copying_says_what_it_did_and_keeps_the_focus(start, page, open_view):
    page.clock.install()
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # as without https
    server = start(FLUSH_COUNT="1")
    server.send([entry("m")])
    open_view(server, "lines")
    page.locator("[data-view=lines] .more").click()
    copy = page.locator("[data-view=lines] .copy")
    for _ in range(2):
        copy.click()
        expect(copy).to_have_text("copied")
    expect(copy).to_be_focused()
    page.clock.fast_forward(3_000)
    expect(copy).to_have_text("Copy as JSON")


def test_a_sender_that_was_left_and_opened_again_is_asked_for_once(start, page, open_view):
    page.clock.install()
    server = start()
    server.send([INFO])
    address = eventually(lambda: server.stats()["top_senders"], len)[0]["address"]
    held = []

    def hold(request):
        held.append(request)

    page.route("**/sender?**", hold)
    open_view(server, f"sender?address={address}")
    page.keyboard.press("o")
    page.go_back()
    expect(page.locator("#sender-title")).to_be_visible()
    eventually(lambda: page.evaluate("0") or held, lambda held: len(held) == 2)
    for request in held[:2]:
        request.continue_()
    expect(page.locator("#sender-facts")).to_contain_text("Entries received")
    page.evaluate("fetch('stats').then((answer) => answer.text())")  # both answers have come before this one
    page.clock.fast_forward(5_000)
    eventually(lambda: page.evaluate("0") or held, lambda held: len(held) > 2)
    page.evaluate("fetch('stats').then((answer) => answer.text())")
    assert len(held) == 3


def test_a_log_that_was_not_searched_is_not_said_to_have_no_lines(start, page, open_view):
    server = start()
    server.send([INFO])
    address = eventually(lambda: server.stats()["top_senders"], len)[0]["address"]
    page.route("**/lines?**", lambda route: route.abort())
    open_view(server, f"sender?address={address}")
    expect(page.locator("#sender-looked-at")).to_have_text("The log was not searched: no answer.")
    expect(page.locator("#sender-no-lines")).to_be_hidden()
    page.complaints.clear()  # the browser complains of the request


def test_what_a_sender_says_it_is_is_kept_short_and_left_alone(start, open_view):
    server = start(STAMP="always")
    with server.client() as client:
        client.send(entry("m", level="ERROR", app="x" * 10_000))
        page = open_view(server, "overview")
        said = page.locator("#senders .said")
        expect(said).to_have_text(re.compile("^x{200}…$"))
        page.evaluate("window.before = document.querySelector('#senders .said').firstChild")
        client.send(INFO)
        expect(page.locator("#senders .received")).to_have_text("2")
        assert page.evaluate("window.before.isConnected")


@pytest.fixture
def busy(start):
    """A server with something in each view; and the name of the sender."""
    server = start(STAMP="always", RCVBUF_SIZE="1073741824")
    long = "x" * 3_000
    with server.client() as client:
        for sequence in (1, 5):
            client.send(entry(long, level="ERROR", sequence=sequence, app=long, host=long, timestamp=long))
        client.send(entry("short", level="ERROR", sequence=6, timestamp="2026-11-24T07:00:00Z", app="shop", host="web"))
        client.send(b"bad" * 100)
        address = f"127.0.0.1:{client.getsockname()[1]}"
    eventually(server.stats, lambda stats: stats["rejected"]["syntax"] == 1 and stats["buffered"] == 0)
    return server, address


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_each_view_is_for_everybody_at_any_width(busy, browser, width, scheme):
    server, address = busy
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    for view in ("overview", "lines", "rejected", f"sender?address={address}"):
        page.goto("about:blank")
        page.goto(f"http://127.0.0.1:{server.dashboard_port}/#{view}")
        expect(page.locator("tbody .text:visible").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".more:visible").first.click()
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("?")
    assert Axe().run(page).response["violations"] == []
    context.close()


def test_print_is_light_and_shows_everything(start, browser):
    server = start()
    server.send(entry(f"number {number}", level="ERROR", app=f"app-{number}") for number in range(60))
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.dashboard_port}/")
    expect(page.locator("#errors tr")).to_have_count(60)
    scroller = page.locator("#scroller")
    assert scroller.evaluate("element => element.scrollHeight > element.clientHeight")
    page.emulate_media(media="print")
    assert scroller.evaluate("element => element.scrollHeight === element.clientHeight")
    colours = "element => [getComputedStyle(element).backgroundColor, getComputedStyle(element).color]"
    assert page.locator(".hero").evaluate(colours) == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert page.locator("html").evaluate(colours)[0] == "rgb(255, 255, 255)"
    context.close()
