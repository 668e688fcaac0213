"""Where settings come from: which source wins, which names and files a command reads, and how a wrong value is reported."""

import socket

import pytest

from fastlog import cli, service
from tests.helpers.running import run_fastlog


@pytest.fixture
def receiver():
    """A UDP socket, on the port that its test sends to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock


def port_of(sock: socket.socket) -> str:
    return str(sock.getsockname()[1])


def checked(tmp_path, *arguments: str, **environment: str) -> dict[str, str]:
    """What `fastlog serve --check` prints, by variable."""
    done = run_fastlog("serve", "--check", *arguments, cwd=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_the_prefixed_name_wins_over_the_plain_one_in_the_same_source(tmp_path):
    (tmp_path / ".env").write_text("FASTLOG_LOG_BACKUPS=1\nLOG_BACKUPS=2\nFASTLOG_FLUSH_COUNT=3\nMAX_ERRORS=4\n")
    found = checked(tmp_path, SERVER_PORT="1", FASTLOG_SERVER_PORT="2", FLUSH_COUNT="5", FASTLOG_MAX_ERRORS="")
    assert found["SERVER_PORT"] == "2  # environment, FASTLOG_SERVER_PORT"
    assert found["LOG_BACKUPS"] == "1  # .env, FASTLOG_LOG_BACKUPS"
    assert found["FLUSH_COUNT"] == "5  # environment"  # the environment comes before the file, whatever the names
    assert found["MAX_ERRORS"] == "4  # .env"


def test_the_env_file_can_be_another_one_or_none(tmp_path):
    (tmp_path / ".env").write_text("FLUSH_COUNT=1\n")
    (tmp_path / "other").write_text("FLUSH_COUNT=2\n")
    assert checked(tmp_path)["FLUSH_COUNT"] == "1  # .env"
    assert checked(tmp_path, "--env-file", "other")["FLUSH_COUNT"] == "2  # other"
    assert checked(tmp_path, "--no-env-file")["FLUSH_COUNT"] == "100  # default"


@pytest.mark.parametrize("command", [("serve", "--check"), ("tail",), ("top",), ("doctor",)])
def test_an_env_file_that_is_named_must_be_there(command, tmp_path):
    done = run_fastlog(*command, "--env-file", "no/such", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "fastlog: cannot read no/such: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("--flush-count", "0"), {}, "--flush-count='0' (flag)"),
        (("--port", "x"), {}, "--port='x' (flag)"),
        ((), {"FLUSH_COUNT": "0"}, "FLUSH_COUNT='0' (environment)"),
        ((), {"FASTLOG_FLUSH_COUNT": "0", "FLUSH_COUNT": "1"}, "FASTLOG_FLUSH_COUNT='0' (environment)"),
        (("--env-file", "my.env"), {}, "FASTLOG_FLUSH_COUNT='-1' (my.env)"),
        ((), {"DASHBOARD_TOKEN": "short"}, "DASHBOARD_TOKEN=(hidden) (environment)"),
        ((), {"FASTLOG_DASHBOARD_HOST": "::"}, "FASTLOG_DASHBOARD_HOST='::' (environment) lets others read"),
    ],
)
def test_a_wrong_value_is_reported_under_the_name_it_was_written_with(arguments, environment, message, tmp_path):
    (tmp_path / "my.env").write_text("FASTLOG_FLUSH_COUNT=-1\n")
    done = run_fastlog("serve", "--check", *arguments, cwd=tmp_path, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fastlog: {message}")
    assert done.stderr.count("\n") == 1


def test_a_misspelt_variable_is_reported(tmp_path):
    (tmp_path / ".env").write_text("FASTLOG_FLUSHCOUNT=1\nUNKNOWN=1\n")
    service_links = {
        "FASTLOG_PORT": "udp://10.0.0.7:5514",
        "FASTLOG_SERVICE_HOST": "10.0.0.7",
        "FASTLOG_PORT_5514_UDP_PROTO": "udp",
    }
    known = {"FASTLOG_SERVER": "logs", "FASTLOG_SNDBUF_SIZE": "1"}
    done = run_fastlog(
        "serve", "--check", cwd=tmp_path, FASTLOG_SERVER_PROT="1", OTHER_SERVER_PORT="1", **known, **service_links
    )
    assert done.returncode == 0
    assert done.stderr == (
        "fastlog: unknown variables are ignored: FASTLOG_SERVER_PROT (environment), FASTLOG_FLUSHCOUNT (.env)\n"
    )


def test_a_client_is_not_hijacked_by_variables_of_other_programs(tmp_path, receiver):
    others = {"SERVER_PORT": "9", "SERVER_HOST": "x", "BUFFER_SIZE": "1MB", "SNDBUF_SIZE": "0", "PRIORITY_LEVELS": "?"}
    (tmp_path / ".env").write_text(
        "".join(f"{name}={value}\nFASTLOG_{name}={value}\n" for name, value in others.items())
    )
    done = run_fastlog("send", "hello", cwd=tmp_path, FASTLOG_SERVER_PORT=port_of(receiver), **others)
    assert (done.returncode, b"hello" in receiver.recv(2000)) == (0, True)


def test_a_wrong_value_of_a_setting_that_a_command_does_not_use_does_no_harm(tmp_path, receiver):
    wrong = {"FASTLOG_BUFFER_SIZE": "x", "FASTLOG_LOG_FILENAME": "/", "FASTLOG_DASHBOARD_HOST": "0.0.0.0"}
    done = run_fastlog("send", "hello", "--port", port_of(receiver), cwd=tmp_path, **wrong, FASTLOG_SERVER_PORT="x")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "server.log").write_bytes(b'{"level":"INFO","message":"kept"}\n')
    done = run_fastlog("tail", cwd=tmp_path, FASTLOG_SERVER="x:y", FASTLOG_SNDBUF_SIZE="x", FASTLOG_BUFFER_SIZE="x")
    assert (done.returncode, done.stderr) == (0, "")
    port = port_of(receiver)
    receiver.close()
    done = run_fastlog("doctor", "--server", "127.0.0.1", "--port", port, cwd=tmp_path, **wrong)
    assert done.returncode == 1
    assert f"nothing listens on 127.0.0.1 port {port}/udp" in done.stdout
    done = run_fastlog("send", "hello", cwd=tmp_path, FASTLOG_SNDBUF_SIZE="x")
    assert (done.returncode, done.stderr.split(":")[1]) == (2, " FASTLOG_SNDBUF_SIZE='x' (environment)")


@pytest.mark.parametrize(
    ("arguments", "environment", "target"),
    [
        ((), {}, "127.0.0.1 port 5514"),
        ((), {"FASTLOG_SERVER": "127.0.0.2"}, "127.0.0.2 port 5514"),
        ((), {"FASTLOG_SERVER": "127.0.0.2:6000"}, "127.0.0.2 port 6000"),
        ((), {"FASTLOG_SERVER": "::1"}, "::1 port 5514"),
        ((), {"FASTLOG_SERVER": " [::1] "}, "::1 port 5514"),
        ((), {"FASTLOG_SERVER": "[::1]:6000"}, "::1 port 6000"),
        ((), {"FASTLOG_SERVER": "127.0.0.2", "FASTLOG_SERVER_PORT": "7000"}, "127.0.0.2 port 7000"),
        ((), {"FASTLOG_SERVER": "127.0.0.2:6000", "FASTLOG_SERVER_PORT": "7000"}, "127.0.0.2 port 6000"),
        (("--port", "8000"), {"FASTLOG_SERVER": "127.0.0.2:6000"}, "127.0.0.2 port 8000"),
        # the port belongs to the server that it was written with
        (("--server", "127.0.0.3"), {"FASTLOG_SERVER": "127.0.0.2:6000"}, "127.0.0.3 port 5514"),
        (("--server", "127.0.0.3"), {"FASTLOG_SERVER": "x:y", "FASTLOG_SERVER_PORT": "7000"}, "127.0.0.3 port 7000"),
    ],
)
def test_the_server_of_a_client(arguments, environment, target, tmp_path):
    done = run_fastlog("send", "hello", "--timeout", "0", *arguments, cwd=tmp_path, **environment)
    assert f" {target}/udp" in done.stderr


def test_doctor_looks_at_the_server_of_clients_unless_a_flag_is_about_this_machine(tmp_path, receiver):
    port = port_of(receiver)
    receiver.close()
    there = {"FASTLOG_SERVER": f"127.0.0.1:{port}"}
    done = run_fastlog("doctor", cwd=tmp_path, **there)
    assert f"nothing listens on 127.0.0.1 port {port}/udp" in done.stdout
    done = run_fastlog("doctor", "--url", "http://127.0.0.1:9", cwd=tmp_path, **there)
    assert "cannot ask http://127.0.0.1:9/stats" in done.stdout


@pytest.mark.parametrize("text", ["x:y", "x:0", "x:65536", "x:", ":5514", "[::1", "https://x"])
def test_a_server_that_is_none_is_rejected(text, tmp_path):
    done = run_fastlog("send", "hello", cwd=tmp_path, FASTLOG_SERVER=text)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fastlog: FASTLOG_SERVER={text!r} (environment): must be HOST, HOST:PORT or [IPv6]:")
    assert done.stderr.count("\n") == 1


def test_a_client_cannot_send_to_any_free_port(tmp_path):
    done = run_fastlog("send", "hello", cwd=tmp_path, FASTLOG_SERVER_PORT="0")
    assert done.returncode == 2
    assert done.stderr.startswith("fastlog: FASTLOG_SERVER_PORT='0' (environment): ")


@pytest.mark.leaves_behind("the files of the log, which a command leaves to the end of its process")
def test_tail_finds_the_log_of_the_systems_server(tmp_path, monkeypatch, capfdbinary):
    system, here = tmp_path / "system", tmp_path / "here"
    system.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(service, "SYSTEM_LOG_DIR", str(system))
    assert cli.main(["tail"]) == 1
    assert b"logs/server.log does not exist" in capfdbinary.readouterr().err
    (system / "server.log").write_bytes(b'{"level":"INFO","message":"kept"}\n')
    assert cli.main(["tail", "--json"]) == 0
    found = capfdbinary.readouterr()
    assert found.out == b'{"level":"INFO","message":"kept"}\n'
    assert found.err == f"fastlog: there is no logs/server.log; using {system}/server.log\n".encode()
    assert cli.main(["tail", "--log-dir", "./logs"]) == 1  # it was asked for
    (here / "logs").mkdir()
    (here / "logs" / "server.log").write_bytes(b'{"level":"INFO","message":"near"}\n')
    capfdbinary.readouterr()
    assert cli.main(["tail", "--json"]) == 0
    assert capfdbinary.readouterr() == (b'{"level":"INFO","message":"near"}\n', b"")
