"""Settings: what is allowed, how values are read and written, and how a wrong one is reported."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastlog import setting_sources
from fastlog.config import Settings, describe, describe_server
from fastlog.errors import ConfigError
from fastlog.setting_sources import Source, load, load_for_server
from tests.helpers.running import run_fastlog

ROOT = Path(__file__).parents[2]


BY_VARIABLE = {setting.variable: setting for setting in describe()}


def loaded(**environment: str) -> Settings:
    return load([Source("environment", environment, plain_names=True)], BY_VARIABLE)[0]


def checked(tmp_path: Path, *arguments: str, **environment: str) -> dict[str, str]:
    """What `fastlog serve --check` prints, by variable."""
    done = run_fastlog("serve", "--check", *arguments, cwd=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_check_prints_the_defaults(tmp_path):
    shown = checked(tmp_path)
    assert list(shown) == [setting.variable for setting in describe_server()]
    assert shown["SERVER_PORT"] == "5514  # default"
    assert shown["FLUSH_TIMEOUT_SEC"] == "5  # default"
    assert shown["PRIORITY_LEVELS"] == "ERROR,CRITICAL  # default"
    assert list(tmp_path.iterdir()) == []  # a check leaves nothing behind


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path):
    (tmp_path / ".env").write_text("SERVER_PORT=1\nLOG_BACKUPS=1\nFLUSH_COUNT='1'\n# a comment\nUNKNOWN=x\n")
    shown = checked(tmp_path, "--port", "3", SERVER_PORT="2", LOG_BACKUPS="2")
    assert shown["SERVER_PORT"] == "3  # flag"
    assert shown["LOG_BACKUPS"] == "2  # environment"
    assert shown["FLUSH_COUNT"] == "1  # .env"


def test_an_empty_value_is_no_value(tmp_path):
    (tmp_path / ".env").write_text("SERVER_PORT=\n")
    assert checked(tmp_path, SERVER_PORT="", LOG_DIR="")["SERVER_PORT"] == "5514  # default"


def test_every_setting_has_a_flag(tmp_path):
    help_text = run_fastlog("serve", "--help", cwd=tmp_path).stdout
    for setting in describe_server():
        assert f"--{setting.variable.lower().replace('_', '-')} " in help_text
    assert "--sndbuf-size" not in help_text
    assert "--sndbuf-size " in run_fastlog("send", "--help", cwd=tmp_path).stdout


WRONG = [
    ("SERVER_PORT", "65536"), ("SERVER_PORT", "-1"), ("SERVER_PORT", "http"), ("SERVER_PORT", "5514.5"),
    ("BUFFER_SIZE", "0"), ("BUFFER_SIZE", "65537"), ("LOG_FILENAME", "a/b"), ("LOG_FILENAME", ".."), ("LOG_FILENAME", "."),
    ("LOG_FILENAME", "a\nb"), ("LOG_FILENAME", "a\0b"), ("LOG_FILENAME", "é" * 101), ("LOG_DIR", "a\nb"), ("LOG_DIR", "a\0b"), ("LOG_DIR", "a\ud800"),
    ("FLUSH_COUNT", "0"), ("FLUSH_COUNT", "many"), ("FLUSH_TIMEOUT_SEC", "0"), ("FLUSH_TIMEOUT_SEC", "nan"),
    ("FLUSH_TIMEOUT_SEC", "inf"), ("FLUSH_TIMEOUT_SEC", "-1"), ("RCVBUF_SIZE", "0"), ("RCVBUF_SIZE", "4M"),
    ("SNDBUF_SIZE", "0"), ("MAX_LOG_SIZE_MB", "0"), ("MAX_LOG_SIZE_MB", "1e400"), ("MAX_LOG_SIZE_MB", "nan"),
    ("LOG_KEEP_MB", "0"), ("LOG_KEEP_MB", "10 GB"), ("LOG_KEEP_MB", "nan"), ("LOG_KEEP_MB", "null"), ("LOG_KEEP_MB", "inf"),
    ("LOG_KEEP_DAYS", "0"), ("LOG_KEEP_DAYS", "-1"), ("LOG_KEEP_DAYS", "a week"), ("LOG_KEEP_DAYS", "40000"),
    ("LOG_BACKUPS", "-1"), ("LOG_BACKUPS", "1.5"), ("PRIORITY_LEVELS", "ERROR,LOUD"), ("PRIORITY_LEVELS", ","),
    ("PRIORITY_LEVELS", "NONE,ERROR"), ("PRIORITY_SYNC", "maybe"), ("COALESCE_USEC", "-1"), ("COALESCE_USEC", "1000000"),
    ("REJECTS_MAX_MB", "-0.1"), ("REJECTS_MAX_MB", "none"), ("MAX_ERRORS", "1001"), ("ALLOW_FROM", "10.0.0.0/33"), ("ALLOW_FROM", "10.0.0.1/8"), ("ALLOW_FROM", "localhost"),
    ("ALLOW_FROM", ",".join(["::1"] * 65)), ("DASHBOARD_PORT", "x"), ("DASHBOARD_PORT", "null"), ("DASHBOARD_PORT", "65536"),
    ("DASHBOARD_PORT", "-1"), ("DASHBOARD_TOKEN", "short"),
    ("DASHBOARD_TOKEN", "sixteen with spaces"), ("DASHBOARD_NO_TOKEN", "maybe"),
    ("RATE_LIMIT", "0"), ("RATE_LIMIT", "-1"), ("RATE_LIMIT", "1000,0"), ("RATE_LIMIT", "1,2,3"), ("RATE_LIMIT", "1000/s"),
    ("RATE_LIMIT", "10000001"), ("RATE_LIMIT", "1e3"),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_wrong_value_rejected(variable, value):
    setting = BY_VARIABLE[variable]
    shown = "(hidden)" if setting.secret else repr(value)
    with pytest.raises(
        ConfigError, match="^" + re.escape(f"{variable}={shown} (environment): must be {setting.allowed}") + "$"
    ):
        loaded(**{variable: value})


def test_a_wrong_value_ends_the_server_with_one_line(tmp_path):
    for arguments, environment, written in [
        (["--flush-count", "0"], {}, "--flush-count='0' (flag)"),
        ([], {"FLUSH_COUNT": "0"}, "FLUSH_COUNT='0' (environment)"),
    ]:
        done = run_fastlog("serve", *arguments, cwd=tmp_path, **environment)
        assert done.returncode == 2
        assert done.stderr == f"fastlog: {written}: must be a whole number from 1 to 1000000\n"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "rejects.jsonl", "rejects.jsonl.1", "rejects.jsonl.new", "rejects.jsonl.x", "rejects.jsonl-20260101",
        ".fastlog-probe", ".fastlog-doctor",
        "server.log.1", "server.log.10000", "x.new", "x.torn", "x.repaired", "x.distrusted", "x.distrusted.100",
    ],
)  # fmt: skip
def test_a_log_is_refused_the_name_of_another_file_of_a_server(tmp_path, name):
    """Of this one, or of another server that has the same directory: entries that were acknowledged would be lost."""
    done = run_fastlog("serve", "--check", cwd=tmp_path, LOG_FILENAME=name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fastlog: LOG_FILENAME={name!r} (environment): fastlog gives such names to other ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["rejects.json", "rejects", "fastlog-probe", "server.log1", "1", "new", "new.log", "é" * 100]
)
def test_any_other_name_is_good_for_a_log(name):
    sources = [Source("environment", {"LOG_FILENAME": name}, plain_names=True)]
    assert load_for_server(sources)[0].log_filename == name


def test_commands_may_look_at_any_file_of_a_server(tmp_path):
    (tmp_path / "server.log.1").write_bytes(b'{"level":"INFO","message":"old"}\n')
    done = run_fastlog("tail", "--log-dir", ".", "--log-filename", "server.log.1", cwd=tmp_path)
    assert (done.returncode, "old" in done.stdout) == (0, True)


def test_a_wrong_value_in_the_file_is_reported_with_the_file(tmp_path):
    (tmp_path / ".env").write_text("FLUSH_COUNT=0\n")
    done = run_fastlog("serve", "--check", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("fastlog: FLUSH_COUNT='0' (.env): must be ")


def test_a_host_that_is_none_ends_the_start(tmp_path):
    done = run_fastlog("serve", "--host", "no.such.host.invalid", "--log-dir", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "fastlog: SERVER_HOST='no.such.host.invalid': " in done.stderr


def test_a_directory_that_is_none_ends_the_start(tmp_path):
    (tmp_path / "file").touch()
    done = run_fastlog("serve", "--port", "0", "--log-dir", "file/logs", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"fastlog: cannot make the directory {tmp_path}/file/logs: Not a directory; set LOG_DIR to a directory you may write\n"
    )


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("ERROR", ("ERROR",)), ("error, fatal", ("ERROR", "CRITICAL")), ("ERR,ERROR", ("ERROR",)), ("none", ()),
        ("OTHER,DEBUG", ("OTHER", "DEBUG")),
    ],
)  # fmt: skip
def test_priority_levels_are_read_without_case_and_with_aliases(text, levels):
    settings = loaded(PRIORITY_LEVELS=text)
    assert settings.priority_levels == levels
    assert loaded(PRIORITY_LEVELS=BY_VARIABLE["PRIORITY_LEVELS"].as_text(levels)) == settings


@pytest.mark.parametrize(("text", "port"), [("off", None), ("OFF", None), ("0", 0), (" 8081 ", 8081)])
def test_the_dashboards_port_may_be_off(text, port):
    settings = loaded(DASHBOARD_PORT=text)
    assert settings.dashboard_port == port
    assert loaded(DASHBOARD_PORT=BY_VARIABLE["DASHBOARD_PORT"].as_text(port)) == settings


def test_without_a_dashboard_no_token_is_needed(tmp_path):
    found = checked(tmp_path, DASHBOARD_PORT="off", DASHBOARD_HOST="0.0.0.0")
    assert found["DASHBOARD_PORT"] == "off  # environment"


def test_documents_are_made_from_the_code_as_it_is():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "make_blocks.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def make_blocks():
    spec = importlib.util.spec_from_file_location("make_blocks", ROOT / "docs" / "make_blocks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_document_that_differs_is_found_and_made_anew(make_blocks, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.md").write_text("before\n<!-- made by make docs: part. -->\nold\n<!-- end of part. -->\nafter\n")
    monkeypatch.setattr(make_blocks, "ROOT", tmp_path)
    monkeypatch.setattr(make_blocks, "BLOCKS", {"part": (lambda: ["new", "er"], "a.md")})
    monkeypatch.setattr(sys, "argv", ["make_blocks.py", "--check"])
    assert make_blocks.main() == 1
    found = capsys.readouterr().out
    assert "-old\n+new\n+er\n" in found
    assert found.endswith("\nrun make docs\n")
    monkeypatch.setattr(sys, "argv", ["make_blocks.py"])
    assert make_blocks.main() == 0
    made = (tmp_path / "a.md").read_text()
    assert made == "before\n<!-- made by make docs: part. -->\nnew\ner\n<!-- end of part. -->\nafter\n"
    (tmp_path / "a.md").write_text("no such part\n")
    with pytest.raises(SystemExit, match="there must be one part called part"):
        make_blocks.main()


def test_the_example_file_is_the_defaults():
    values = setting_sources.read_env_file(ROOT / ".env.example").values
    assert values == {}  # all are comments
    lines = (ROOT / ".env.example").read_text().splitlines()
    text = "\n".join(line[1:] for line in lines if line.startswith("#") and not line.startswith("# "))
    assert loaded(**dict(line.split("=", 1) for line in text.splitlines())) == Settings()


def test_settings_can_be_built_without_any_value():
    assert Settings() == loaded()


@pytest.mark.parametrize("setting", describe(), ids=lambda setting: setting.variable)
def test_a_value_written_as_text_is_read_back(setting):
    text = setting.as_text(setting.default)
    if text:
        assert setting.from_text(text) == setting.default
