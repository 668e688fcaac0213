"""Settings: what is allowed, which source wins, and what a wrong value is told as."""

import re
from pathlib import Path

import pytest

from fastlog.config import Settings, as_text, describe, load
from fastlog.errors import ConfigError
from tests.helpers.running import run_fastlog

ROOT = Path(__file__).parents[2]


def checked(tmp_path: Path, *arguments: str, **environment: str) -> dict[str, str]:
    """What `fastlog serve --check` prints, by variable."""
    done = run_fastlog("serve", "--check", *arguments, cwd=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_the_defaults_are_told(tmp_path):
    told = checked(tmp_path)
    assert list(told) == [setting.variable for setting in describe()]
    assert told["SERVER_PORT"] == "5514  # default"
    assert told["FLUSH_TIMEOUT_SEC"] == "5  # default"
    assert told["PRIORITY_LEVELS"] == "ERROR,CRITICAL  # default"
    assert list(tmp_path.iterdir()) == []  # a check leaves nothing behind


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path):
    (tmp_path / ".env").write_text("SERVER_PORT=1\nLOG_BACKUPS=1\nFLUSH_COUNT='1'\n# a comment\nUNKNOWN=x\n")
    told = checked(tmp_path, "--port", "3", SERVER_PORT="2", LOG_BACKUPS="2")
    assert told["SERVER_PORT"] == "3  # flag"
    assert told["LOG_BACKUPS"] == "2  # environment"
    assert told["FLUSH_COUNT"] == "1  # .env"


def test_an_empty_value_is_no_value(tmp_path):
    (tmp_path / ".env").write_text("SERVER_PORT=\n")
    assert checked(tmp_path, SERVER_PORT="", LOG_DIR="")["SERVER_PORT"] == "5514  # default"


def test_every_setting_has_a_flag(tmp_path):
    help_text = run_fastlog("serve", "--help", cwd=tmp_path).stdout
    for setting in describe():
        assert f"--{setting.variable.lower().replace('_', '-')} " in help_text


WRONG = [
    ("SERVER_PORT", "65536"), ("SERVER_PORT", "-1"), ("SERVER_PORT", "http"), ("SERVER_PORT", "5514.5"),
    ("BUFFER_SIZE", "0"), ("BUFFER_SIZE", "65537"), ("LOG_FILENAME", "a/b"), ("LOG_FILENAME", ".."), ("LOG_FILENAME", "."),
    ("FLUSH_COUNT", "0"), ("FLUSH_COUNT", "many"), ("FLUSH_TIMEOUT_SEC", "0"), ("FLUSH_TIMEOUT_SEC", "nan"),
    ("FLUSH_TIMEOUT_SEC", "inf"), ("FLUSH_TIMEOUT_SEC", "-1"), ("RCVBUF_SIZE", "0"), ("RCVBUF_SIZE", "4M"),
    ("SNDBUF_SIZE", "0"), ("MAX_LOG_SIZE_MB", "0"), ("MAX_LOG_SIZE_MB", "1e400"), ("MAX_LOG_SIZE_MB", "nan"),
    ("LOG_BACKUPS", "-1"), ("LOG_BACKUPS", "1.5"), ("PRIORITY_LEVELS", "ERROR,LOUD"), ("PRIORITY_LEVELS", ","),
    ("PRIORITY_LEVELS", "NONE,ERROR"), ("PRIORITY_SYNC", "maybe"), ("COALESCE_USEC", "-1"), ("COALESCE_USEC", "1000000"),
    ("REJECTS_MAX_MB", "-0.1"), ("REJECTS_MAX_MB", "none"), ("MAX_ERRORS", "1001"), ("ALLOW_FROM", "10.0.0.0/33"), ("ALLOW_FROM", "10.0.0.1/8"), ("ALLOW_FROM", "localhost"),
    ("ALLOW_FROM", ",".join(["::1"] * 65)), ("DASHBOARD_PORT", "x"), ("DASHBOARD_TOKEN", "short"),
    ("DASHBOARD_TOKEN", "sixteen with spaces"), ("DASHBOARD_NO_TOKEN", "maybe"),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_wrong_value_rejected(variable, value):
    allowed = next(setting.allowed for setting in describe() if setting.variable == variable)
    with pytest.raises(
        ConfigError, match="^" + re.escape(f"{variable}={value!r} (environment): must be {allowed}") + "$"
    ):
        load({}, {variable: value}, Path("/nonexistent"))


def test_a_wrong_value_ends_the_server_with_one_line(tmp_path):
    for arguments, environment, source in [
        (["--flush-count", "0"], {}, "flag"),
        ([], {"FLUSH_COUNT": "0"}, "environment"),
    ]:
        done = run_fastlog("serve", *arguments, cwd=tmp_path, **environment)
        assert done.returncode == 2
        assert done.stderr == f"fastlog: FLUSH_COUNT='0' ({source}): must be a whole number from 1 to 1000000\n"
        assert list(tmp_path.iterdir()) == []


def test_a_wrong_value_in_the_file_is_told_as_such(tmp_path):
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
        "fastlog: cannot make the directory file/logs: Not a directory; set LOG_DIR to a directory you may write\n"
    )


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("ERROR", ("ERROR",)), ("error, fatal", ("ERROR", "CRITICAL")), ("ERR,ERROR", ("ERROR",)), ("none", ()),
        ("OTHER,DEBUG", ("OTHER", "DEBUG")),
    ],
)  # fmt: skip
def test_priority_levels_are_read_without_case_and_with_aliases(text, levels):
    settings, _ = load({}, {"PRIORITY_LEVELS": text}, Path("/nonexistent"))
    assert settings.priority_levels == levels
    assert load({}, {"PRIORITY_LEVELS": as_text("priority_levels", levels)}, Path("/nonexistent"))[0] == settings


def test_the_documented_table_is_the_settings():
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (.+) \| `(.*)` \|$", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE
    )
    assert [(name, default) for name, _, default in rows] == [
        (s.variable, as_text(s.field, s.default)) for s in describe()
    ]


def test_the_example_file_has_every_setting_with_its_default():
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line[1:] for line in lines if line.startswith("#") and not line.startswith("# ")] == [
        f"{setting.variable}={as_text(setting.field, setting.default)}" for setting in describe()
    ]


def test_settings_can_be_built_without_any_value():
    assert Settings() == load({}, {}, Path("/nonexistent"))[0]
