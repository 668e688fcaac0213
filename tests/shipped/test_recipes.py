"""The recipes of docs/python-logging.md: each with the real package, as its users run it. Every error is stored, and the
program ends in time."""

import json
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.helpers.programs import Program, WebServer, run_to_its_end
from tests.helpers.running import eventually

DOCUMENT = (Path(__file__).parents[2] / "docs" / "python-logging.md").read_text()
RECIPES = dict(re.findall(r"^### (.*?)\n.*?^```(?:python|ini)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))
WORKERS = 4  # in the recipes that have several
ORDERS = [f"/orders/{number}" for number in range(20)]


@pytest.fixture
def server(start):
    return start()


@pytest.fixture
def recipe(server, tmp_path):
    """Writes the code of a recipe, with the port of the server, to a file, and something behind it."""

    def write(title: str, file: str, *, more: str = "") -> None:
        (tmp_path / file).write_text(RECIPES[title].replace("5514", str(server.port)) + more)

    return write


@pytest.fixture
def host(tmp_path, closing):
    def start_host(*command: object, ready: str | None, **more: object) -> WebServer:
        return closing(WebServer([sys.executable, "-m", *command], ready, tmp_path, **more))

    return start_host


def errors(server) -> list[str]:
    """Ends the server; returns the messages of all errors in its log."""
    return sorted(entry["message"] for entry in entries(server) if entry["level"] == "ERROR")


def entries(server) -> list[dict]:
    assert server.stop() == 0
    assert "rejected 0, " in server.account
    return [json.loads(line) for line in server.log().splitlines()]


def timed_out(paths: list[str]) -> list[str]:
    return sorted(f"payment of order {path.rpartition('/')[2]} timed out" for path in paths)


WSGI = """
import logging, os

def application(environment, start_response):
    if environment["PATH_INFO"].startswith("/orders/"):
        logging.error("payment of order %s timed out", environment["PATH_INFO"].rpartition("/")[2])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
HANDLER = "import logging, fastlog\nlogging.basicConfig(level='INFO', handlers=[fastlog.Handler(port={port})])\n"


def test_every_recipe_is_here():
    assert list(RECIPES) == ["Django", "gunicorn", "uWSGI", "FastAPI and uvicorn", "Celery"]


# Web servers


GUNICORN_READY = r"Listening at: http://127\.0\.0\.1:(\d+)"


def test_gunicorn(server, recipe, host, tmp_path):
    """Its own messages go to fastlog, too, and so nothing is printed but what comes before its configuration."""
    recipe(
        "gunicorn",
        "gunicorn.conf.py",
        more="bind = '127.0.0.1:0'\naccesslog = '-'\n"
        "def when_ready(server): print('Listening at:', f'http://127.0.0.1:{server.LISTENERS[0].sock.getsockname()[1]}', flush=True)\n",
    )
    (tmp_path / "shop.py").write_text(WSGI)
    gunicorn = host("gunicorn", "--no-control-socket", "shop:application", ready=GUNICORN_READY)
    paths = gunicorn.ask_until_all_have_answered(len(ORDERS), WORKERS, "/orders/{}")
    assert gunicorn.end() == 0, gunicorn.printed
    logged = entries(server)
    assert sorted(entry["message"] for entry in logged if entry["logger"] == "root") == timed_out(paths)
    assert sum(entry["logger"] == "gunicorn.access" for entry in logged) == len(paths)
    assert {entry["process"] for entry in logged if entry["logger"] == "gunicorn.error"} > {gunicorn.process.pid}


def test_uwsgi(server, recipe, tmp_path, closing):
    recipe("uWSGI", "shop.ini", more="callable = application\nhttp-socket = 127.0.0.1:0\n")
    (tmp_path / "shop.py").write_text(HANDLER.format(port=server.port) + WSGI)
    command = [Path(sys.executable).with_name("uwsgi"), "--ini", "shop.ini"]
    uwsgi = closing(WebServer(command, r"bound to TCP address 127\.0\.0\.1:(\d+)", tmp_path))
    paths = uwsgi.ask_until_all_have_answered(len(ORDERS), WORKERS, "/orders/{}")
    # A worker that is busy when it is told to end does so at once, without the end of a Python program.
    eventually(server.stats, lambda stats: stats["level_distribution"]["ERROR"] == len(paths))
    assert uwsgi.end() == 0, uwsgi.printed
    assert errors(server) == timed_out(paths)


UVICORN_MORE = """
import json, os

@app.get("/up/{number}")
async def up(number: int):
    return os.getpid()

of_the_recipe = app.router.lifespan_context

@asynccontextmanager
async def with_errors_at_the_end(app):
    async with of_the_recipe(app):
        yield
        for number in range(100):
            logging.error("worker %d ends: %d", os.getpid(), number)

app.router.lifespan_context = with_errors_at_the_end
if __name__ == "__main__":
    print(json.dumps(LOGGING))
"""


@pytest.mark.parametrize("configured", ["by-the-application", "by-a-file-too"])
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_fastapi_and_uvicorn(server, recipe, host, tmp_path, workers, configured):
    recipe("FastAPI and uvicorn", "shop.py", more=UVICORN_MORE)
    command = ["uvicorn", "shop:app", "--workers", workers]
    if configured == "by-a-file-too":
        (tmp_path / "logging.json").write_text(run_to_its_end([sys.executable, "shop.py"], tmp_path))
        command += ["--log-config", "logging.json"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        uvicorn = host(*command, "--fd", fd, ready=None, pass_fds=[fd])
        uvicorn.port = listener.getsockname()[1]
        uvicorn.ask_until_all_have_answered(1, workers, "/up/{}")
        uvicorn.ask(ORDERS)
        assert uvicorn.end() in (0, -signal.SIGTERM), uvicorn.printed
    logged = entries(server)
    messages = sorted(entry["message"] for entry in logged if entry["level"] == "ERROR")
    assert [message for message in messages if " ends: " not in message] == timed_out(ORDERS)
    assert sum(" ends: " in message for message in messages) == workers * 100
    assert sum(entry["logger"] == "uvicorn.access" and "/orders/" in entry["message"] for entry in logged) == len(
        ORDERS
    )


# Django

URLS = """
import logging, os
from django.http import HttpResponse
from django.urls import path

def pay(request, order):
    logging.getLogger("shop").error("payment of order %d timed out", order)
    return HttpResponse(str(os.getpid()))

def fail(request):
    raise ValueError("a bug")

urlpatterns = [path("orders/<int:order>", pay), path("fail", fail)]
"""
DJANGO = """
import os
SECRET_KEY = "of a test"
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
"""
DJANGO_TESTS = """
from django.test import SimpleTestCase
from fastlog.testing import capture_entries

class PaymentTest(SimpleTestCase):
    def test_an_order_that_times_out(self):
        with capture_entries() as logged:
            self.client.get("/orders/7")
        logged.assert_logged("ERROR", "payment of order 7 timed out", logger="shop", app="shop")

    def test_a_bug(self):
        self.client.raise_request_exception = False
        self.client.get("/fail")
"""


@pytest.fixture
def django(recipe, tmp_path):
    recipe("Django", "settings.py", more=DJANGO)
    (tmp_path / "urls.py").write_text(URLS)
    (tmp_path / "tests.py").write_text(DJANGO_TESTS)
    (tmp_path / "wsgi.py").write_text(
        "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
    )


@pytest.mark.usefixtures("django")
@pytest.mark.parametrize("options", [[], ["--noreload"]], ids=["with-reloader", "without-reloader"])
def test_django_runserver(server, host, options):
    arguments = ["django", "runserver", "127.0.0.1:0", "--settings", "settings", "--pythonpath", ".", *options]
    django = host(*arguments, ready=r"development server at http://127\.0\.0\.1:(\d+)")
    django.ask(ORDERS)
    assert django.ask(["/fail"], status=500)
    assert django.end(signal.SIGINT) == 0, django.printed
    logged = entries(server)
    messages = sorted(entry["message"] for entry in logged if entry["level"] == "ERROR" and entry["logger"] == "shop")
    assert messages == timed_out(ORDERS)
    (bug,) = (entry for entry in logged if entry["logger"] == "django.request")
    assert (bug["level"], bug["exc_type"], bug["exc_message"]) == ("ERROR", "ValueError", "a bug")
    assert sum(entry["logger"] == "django.server" and "/orders/" in entry["message"] for entry in logged) == len(ORDERS)


@pytest.mark.usefixtures("django")
def test_django_under_gunicorn(server, host):
    command = ["gunicorn", "--workers", WORKERS, "--bind", "127.0.0.1:0", "--no-control-socket", "wsgi:application"]
    gunicorn = host(*command, ready=GUNICORN_READY, DJANGO_SETTINGS_MODULE="settings")
    paths = gunicorn.ask_until_all_have_answered(len(ORDERS), WORKERS, "/orders/{}")
    assert gunicorn.end() == 0, gunicorn.printed
    assert errors(server) == timed_out(paths)


@pytest.mark.usefixtures("django")
@pytest.mark.parametrize("is_running", [True, False], ids=["with-a-server", "without-a-server"])
def test_the_tests_of_django(server, tmp_path, is_running):
    if not is_running:
        assert server.stop() == 0
    command = [sys.executable, "-m", "django", "test", "--settings", "settings", "--pythonpath", "."]
    assert "\nOK\n" in run_to_its_end(command, tmp_path)
    if is_running:
        assert errors(server) == ["Internal Server Error: /fail"]


# Celery

TRANSPORT = """
app.conf.broker_url = "filesystem://"
app.conf.broker_transport_options = {
    "data_folder_in": "broker", "data_folder_out": "broker", "control_folder": "broker", "polling_interval": 0.05,
}
if __name__ == "__main__":
    for order in range(20):
        pay.delay(order)
"""


@pytest.mark.parametrize(
    "pool", [["prefork"], ["prefork", "--max-tasks-per-child", 5], ["threads"]], ids=["prefork", "recycled", "threads"]
)
def test_celery(server, recipe, tmp_path, closing, pool):
    recipe("Celery", "shop.py", more=TRANSPORT)
    (tmp_path / "broker").mkdir()
    run_to_its_end([sys.executable, "shop.py"], tmp_path)
    command = [sys.executable, "-m", "celery", "--app", "shop", "worker", "--concurrency", 2, "--pool", *pool]
    celery = closing(Program([*command, "--without-gossip", "--without-mingle"], r"ready\.", tmp_path))
    for _ in ORDERS:
        celery.wait_for(r"succeeded in")
    assert celery.end() == 0, celery.printed
    logged = entries(server)
    assert sorted(entry["message"] for entry in logged if entry["level"] == "ERROR") == timed_out(ORDERS)
    assert sum("succeeded in" in entry["message"] for entry in logged) == len(ORDERS)
    processes = {entry["process"] for entry in logged if entry["level"] == "ERROR"}
    assert (celery.process.pid in processes) == (pool == ["threads"])
    assert len(processes) >= (4 if "--max-tasks-per-child" in pool else 1)
