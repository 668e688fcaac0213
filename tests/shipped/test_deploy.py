"""What is shipped beside the code, held against the code: the image, the compose file, and contrib/.

Needs Debian's logrotate, lnav, prometheus and systemd. Where one of them is missing its tests are skipped, except in
CI, where they fail.
"""

import grp
import gzip
import io
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
import tomllib
from pathlib import Path

import msgspec
import pytest
import yaml
from dockerfile_parse import DockerfileParser
from dotenv.variables import parse_variables
from prometheus_client.parser import text_string_to_metric_families

from fastlog.config import describe, describe_server
from fastlog.flags import SHIP_USES, make_parser
from fastlog.segments import Shipped, identity_of, shipped_path
from fastlog.setting_sources import PREFIX, Source, load, load_for_server
from fastlog.ship.sink import EXIT_RIVAL
from tests.helpers.running import PATIENCE_SEC, Server, eventually, get
from tests.helpers.small_disk import only_root

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib"
VARIABLES = {name for setting in describe() for name in (setting.variable, PREFIX + setting.variable)}
NOT_OURS = {"PATH", "BASE"}  # variables of the Dockerfile and the compose file that are not settings
ERROR = b'{"level":"ERROR","message":"m","sequence":1}'


def needs(tool: str):
    return pytest.mark.skipif(
        shutil.which(tool) is None and os.environ.get("CI") != "true", reason=f"no {tool}; see .ci/run for its package"
    )


def run(*command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SEC, check=False, **options)


# The image


@pytest.fixture(scope="module")
def dockerfile() -> list[dict[str, str]]:
    """Its instructions."""
    parsed = DockerfileParser(fileobj=io.BytesIO((ROOT / "Dockerfile").read_bytes())).structure
    return [step for step in parsed if step["instruction"] != "COMMENT"]


@pytest.fixture(scope="module")
def final_stage(dockerfile) -> list[dict[str, str]]:
    """Those of the stage that becomes the image."""
    return dockerfile[max(number for number, step in enumerate(dockerfile) if step["instruction"] == "FROM") :]


def value(steps: list[dict[str, str]], instruction: str) -> str:
    (found,) = [step["value"] for step in steps if step["instruction"] == instruction]
    return found


def environment_of(steps: list[dict[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in value(steps, "ENV").split())


def test_the_image_sets_only_settings_that_there_are(final_stage):
    settings = {name: text for name, text in environment_of(final_stage).items() if name not in NOT_OURS}
    assert set(settings) <= VARIABLES
    load_for_server([Source("environment", settings, plain_names=True)])


def test_the_image_runs_the_server_as_a_user_of_its_own_and_without_a_shell(final_stage):
    """The server then gets the signals, and Kubernetes sees by the number that it does not run as root."""
    uid, gid = value(final_stage, "USER").split(":")
    assert int(uid) > 0
    made = next(step["value"] for step in final_stage if step["instruction"] == "RUN")
    assert f"groupadd --gid {gid} fastlog" in made
    assert f"useradd --uid {uid} --gid {gid} " in made
    assert f"--owner {uid} --group {gid} --mode 0750 {environment_of(final_stage)['LOG_DIR']}" in made
    assert value(final_stage, "STOPSIGNAL") == "SIGTERM"
    command = [*json.loads(value(final_stage, "ENTRYPOINT")), *json.loads(value(final_stage, "CMD"))]
    assert command == ["fastlog", "serve"]
    make_parser().parse_args(command[1:])


def test_the_image_publishes_the_ports_and_the_volume_of_the_settings(final_stage):
    defaults = {setting.variable: setting.default for setting in describe()}
    assert value(final_stage, "EXPOSE") == f"{defaults['SERVER_PORT']}/udp {defaults['DASHBOARD_PORT']}/tcp"
    assert value(final_stage, "VOLUME") == environment_of(final_stage)["LOG_DIR"]


def test_the_labels_of_the_image_agree_with_the_package(final_stage):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = dict(
        re.findall(r'org\.opencontainers\.image\.(\w+)="?([^"\n\\]+?)"?\s', value(final_stage, "LABEL") + "\n")
    )
    assert labels == {"title": "fastlog", "description": labels["description"], "licenses": project["license"]}


def test_what_the_image_copies_is_there_and_not_ignored(dockerfile):
    ignored = (ROOT / ".dockerignore").read_text().split()
    for step in dockerfile:
        if step["instruction"] == "COPY" and "--from" not in step["value"]:
            for source in step["value"].split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source not in ignored


@pytest.fixture(scope="module")
def health_check(final_stage) -> list[str]:
    return json.loads(re.search(r"CMD (\[.*\])", value(final_stage, "HEALTHCHECK"))[1])


def test_the_health_check_fails_without_a_server(health_check, start):
    server = start()
    environment = {"PATH": os.environ["PATH"], "DASHBOARD_PORT": str(server.dashboard_port)}
    healthy = run(*health_check, env=environment)
    assert healthy.returncode == 0, healthy.stderr
    assert json.loads(healthy.stdout)["status"] == "ok"
    server.stop()
    assert run(*health_check, env=environment).returncode != 0


@pytest.mark.parametrize("environment", [{"DASHBOARD_PORT": "off"}, {"FASTLOG_DASHBOARD_PORT": "OFF"}])
def test_the_health_check_passes_where_the_dashboard_is_off(health_check, environment):
    checked = run(*health_check, env={"PATH": os.environ["PATH"], **environment})
    assert (checked.returncode, checked.stdout) == (0, "the dashboard is off\n")


# The compose file


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def resolved(text: str, environment: dict[str, str]) -> str:
    """With its variables put in, as compose does."""
    return "".join(atom.resolve(environment) for atom in parse_variables(text))


def server_settings(compose: dict, **environment: str):
    given = compose["services"]["udp-server"]["environment"]
    values = {name: resolved(text, environment) for name, text in given.items()}
    settings, _ = load_for_server([Source("environment", values, plain_names=True)])
    return settings


def test_every_setting_is_either_fixed_for_the_container_or_taken_from_the_user(compose):
    given = compose["services"]["udp-server"]["environment"]
    for setting in describe_server():
        assert setting.variable in given
        assert "$" not in given[setting.variable] or PREFIX + setting.variable in given
    for name, text in given.items():
        assert "$" not in text or text == f"${{{name}:-}}"
    settings = server_settings(compose, FLUSH_COUNT="7", PRIORITY_LEVELS="NONE", DASHBOARD_TOKEN="x" * 16)
    assert settings.flush_count == 7
    assert settings.priority_levels == ()
    assert settings.dashboard_token == "x" * 16
    assert server_settings(compose).flush_count == 100


def test_every_service_names_only_settings_that_there_are(compose):
    for service in compose["services"].values():
        assert set(service.get("environment", {})) <= VARIABLES
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert used - NOT_OURS <= VARIABLES


def test_the_dashboard_is_published_to_this_machine_alone(compose):
    settings = server_settings(compose)
    udp, dashboard = compose["services"]["udp-server"]["ports"]
    assert resolved(udp, {}) == f"5514:{settings.server_port}/udp"
    assert resolved(dashboard, {}) == f"127.0.0.1:8080:{settings.dashboard_port}/tcp"
    assert resolved(dashboard, {"DASHBOARD_PORT": "9"}).startswith("127.0.0.1:9:")
    assert settings.dashboard_host == settings.server_host == "0.0.0.0"
    assert settings.dashboard_no_token
    assert "udp-server" in settings.dashboard_names


def test_the_logs_are_on_a_volume_that_survives(compose, final_stage):
    (mount,) = compose["services"]["udp-server"]["volumes"]
    name, path = mount.split(":")
    assert name in compose["volumes"]
    assert path == server_settings(compose).log_dir == value(final_stage, "VOLUME")


def test_the_services_besides_the_server_start_only_when_asked_for(compose):
    profiles = {name: service.get("profiles") for name, service in compose["services"].items()}
    assert profiles == {
        "udp-server": None,
        "udp-client": ["udp-client"],
        "loadtest": ["loadtest"],
        "nats": ["nats"],
        "shipper": ["nats"],
        "consumer": ["nats"],
        "tests": ["tests"],
    }
    for name in ("udp-client", "loadtest", "shipper"):
        make_parser().parse_args(compose["services"][name]["command"])
    assert f"AS {compose['services']['tests']['build']['target']}\n" in (ROOT / "Dockerfile").read_text()


def test_make_calls_only_services_that_there_are(compose):
    commands = re.findall(r"\$\(COMPOSE\) .*", (ROOT / "Makefile").read_text())
    names = "|".join(compose["services"])
    words = {word for command in commands for word in re.findall(rf"(?<=[ ])(?:{names}|udp-\w+)\b", command)}
    assert words == set(compose["services"])


def test_the_shipper_reads_the_log_of_the_server_and_keeps_its_name(compose, final_stage):
    """A container made anew has another host name, under which the shipper would begin a new subject."""
    shipper, server = compose["services"]["shipper"], server_settings(compose)
    values = {name: resolved(text, {}) for name, text in shipper["environment"].items()}
    settings, _ = load([Source("environment", values, plain_names=False)], SHIP_USES)
    assert shipper["volumes"] == compose["services"]["udp-server"]["volumes"]
    assert (settings.log_dir, settings.log_filename) == (server.log_dir, server.log_filename)
    assert settings.ship_node == "fastlog"
    assert settings.ship_to == "nats://nats:4222/LOGS"
    assert "install --no-cache-dir '/src[nats]'" in (ROOT / "Dockerfile").read_text()


def test_the_stream_is_on_a_volume_and_read_by_the_consumer(compose):
    nats, consumer = compose["services"]["nats"], compose["services"]["consumer"]
    (mount,) = nats["volumes"]
    name, path = mount.split(":")
    assert name in compose["volumes"]
    assert nats["command"][nats["command"].index("--store_dir") + 1] == path
    assert consumer["command"] == ["nats://nats:4222", "LOGS"]
    script, place, _ = consumer["volumes"][0].split(":")
    assert consumer["entrypoint"] == ["python3", place]
    assert (ROOT / script).exists()


# The service manager


@needs("systemd-analyze")
def test_the_units_are_sound_and_closed_to_the_rest_of_the_system(tmp_path):
    shutil.copytree(CONTRIB / "systemd", tmp_path, dirs_exist_ok=True)
    (tmp_path / "fastlog.service.d").mkdir()
    (tmp_path / "ship.conf").rename(tmp_path / "fastlog.service.d" / "ship.conf")
    services = ["./fastlog.service", "./fastlog-ship.service"]
    for name in services:
        text = (tmp_path / name).read_text().replace("/opt/fastlog/bin/fastlog", shutil.which("true"))
        (tmp_path / name).write_text(text)
    verified = run("systemd-analyze", "verify", *services, "./fastlog.socket", cwd=tmp_path)
    assert [line for line in verified.stderr.splitlines() if str(tmp_path) in line] == []
    assert verified.returncode == 0
    for name in services:  # in tenths of the exposure level: 15 is 1.5, of 10
        judged = run("systemd-analyze", "security", "--offline=true", "--threshold=15", name, cwd=tmp_path)
        assert judged.returncode == 0, judged.stdout[-300:]


def allowed_calls(name: str) -> set[str]:
    """The system calls that a unit's filter leaves, by its lines in order, as systemd.exec(5) says."""
    allowed: set[str] = set()
    for line in re.findall("^SystemCallFilter=(.*)$", (CONTRIB / "systemd" / name).read_text(), re.MULTILINE):
        calls = set().union(*map(calls_of, line.removeprefix("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def calls_of(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    lines = run("systemd-analyze", "syscall-filter", name).stdout.splitlines()
    return set().union(*(calls_of(line.strip()) for line in lines[1:] if not line.strip().startswith("#")))


@needs("systemd-analyze")
def test_the_server_may_start_and_watch_a_process_that_puts_itself_last():
    allowed = allowed_calls("fastlog.service")
    needed = {"vfork", "execve", "prctl", "pidfd_open", "pidfd_send_signal", "fsetxattr", "utimensat"}
    assert needed | {"setpriority", "ioprio_set", "io_submit", "io_getevents"} <= allowed
    assert not {"sched_setscheduler", "setrlimit", "mount", "bpf"} & allowed


def unit(name: str) -> dict[str, str]:
    """The assignments of a unit; of those that are repeated, the last one."""
    return dict(re.findall(r"^(\w+)=(.*)$", (CONTRIB / "systemd" / name).read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def service() -> dict[str, str]:
    return unit("fastlog.service")


def test_systemctl_reload_works_before_systemd_253(service):
    assert service["Type"] == "notify"  # 253 was the first version with notify-reload
    assert service["ExecReload"] == "/bin/sh -c 'kill -HUP $MAINPID'"


def test_the_end_of_the_process_that_compresses_is_not_that_of_the_unit(service):
    assert service["OOMPolicy"] == "continue"  # otherwise systemd ends the server when the kernel has ended the process
    assert service["KillMode"] == "mixed"  # otherwise each stop ends the process first, which the server reports


def test_the_unit_lets_the_process_that_compresses_take_the_lowest_priority():
    text = (CONTRIB / "systemd" / "fastlog.service").read_text()
    filters = re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE)
    assert filters[-1].split() == ["setpriority", "ioprio_set"]  # after what was taken away, of which they are
    assert filters[-2].startswith("~")


@needs("systemd-sysusers")
def test_the_group_of_the_service_can_read_its_log(service, tmp_path, start):
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", str(CONTRIB / "sysusers.d" / "fastlog.conf"))
    assert made.returncode == 0, made.stderr
    user, _, _, gid, *_ = (tmp_path / "etc" / "passwd").read_text().strip().split(":")
    group, _, its_gid, _ = (tmp_path / "etc" / "group").read_text().strip().split(":")
    assert (user, group, its_gid) == (service["User"], service["Group"], gid)
    assert "DynamicUser" not in service  # its logs would be below /var/log/private, which is closed to all but root
    assert service["LogsDirectoryMode"] == "0750"
    umask = os.umask(int(service["UMask"], 8))
    try:
        start().stop()
    finally:
        os.umask(umask)
    assert (tmp_path / "server.log").stat().st_mode & 0o777 == 0o640


def accounts(directory: Path) -> tuple[dict[str, int], dict[str, int]]:
    """The users and groups that the files in sysusers.d make there: the number of each."""
    (directory / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={directory}", *map(str, (CONTRIB / "sysusers.d").iterdir()))
    assert made.returncode == 0, made.stderr
    tables = [(directory / "etc" / name).read_text().splitlines() for name in ("passwd", "group")]
    users, groups = ({row.split(":")[0]: int(row.split(":")[2]) for row in table} for table in tables)
    return users, groups


@only_root
@needs("systemd-tmpfiles")
def test_the_shipper_adds_files_beside_the_log_and_changes_none_of_the_servers(tmp_path):
    users, groups = accounts(tmp_path)
    made = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", str(CONTRIB / "tmpfiles.d" / "fastlog-ship.conf"))
    assert made.returncode == 0, made.stderr
    directory = tmp_path / unit("ship.conf")["ReadWritePaths"].replace("%L", "var/log")
    server, shipper = unit("fastlog.service"), unit("fastlog-ship.service")
    assert shipper["UMask"] == server["UMask"] == "0027"

    def can(user: int, group: int, others: str, command: str) -> bool:
        rights = [f"--reuid={user}", f"--regid={group}", *([f"--groups={others}"] if others else ["--clear-groups"])]
        return run("setpriv", *rights, "sh", "-c", f"umask 0027; {command}", cwd=directory).returncode == 0

    ids = users[server["User"]], groups[server["Group"]], ""
    assert can(*ids, "echo a > server.log; echo b > server.log.1")
    ids = users[shipper["User"]], groups[shipper["Group"]], str(groups[shipper["SupplementaryGroups"]])
    assert can(*ids, "cat server.log server.log.1 && echo c > .fastlog-1 && mv .fastlog-1 server.log.shipped")
    assert can(*ids, "echo d > .fastlog-1 && mv .fastlog-1 server.log.shipped && echo e >> ship-refused.jsonl")
    for command in ("echo x >> server.log", "rm -f server.log.1", "mv server.log.1 server.log.2", "chmod 777 ."):
        assert not can(*ids, command), command
    ids = users[server["User"]], groups[server["Group"]], ""
    assert can(*ids, "cat server.log.shipped && mv server.log.1 server.log.2 && rm server.log.2")
    ids = 65534, groups["fastlog"], ""
    assert can(*ids, "ls && cat server.log ship-refused.jsonl")
    assert not can(*ids, "touch x")
    ids = 65534, 65534, ""
    assert not can(*ids, "touch x")
    assert not can(*ids, "cat server.log ship-refused.jsonl")


def test_systemd_restarts_the_shipper_unless_a_person_is_needed():
    shipper = unit("fastlog-ship.service")
    assert shipper["Restart"] == "always"
    usage = 2  # what argparse ends with
    assert shipper["RestartPreventExitStatus"] == f"{usage} {EXIT_RIVAL}"
    variable, directory = shipper["Environment"].split("=")
    assert variable in VARIABLES
    assert directory == unit("fastlog.service")["Environment"].split("=")[1]
    make_parser().parse_args(shipper["ExecStart"].split()[1:])


def test_the_units_agree_with_the_settings(service):
    variable, directory = service["Environment"].split("=")
    assert variable in VARIABLES
    assert directory == f"%L/{service['LogsDirectory']}"  # %L is /var/log
    defaults = {setting.variable: setting.default for setting in describe()}
    socket = (CONTRIB / "systemd" / "fastlog.socket").read_text()
    assert f"ListenDatagram={defaults['SERVER_PORT']}\n" in socket
    assert f"ReceiveBuffer={defaults['RCVBUF_SIZE']}\n" in socket


# logrotate


@needs("logrotate")
def test_no_line_is_lost_or_repeated_when_logrotate_rotates_under_load(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="1000000", FLUSH_COUNT="1")
    snippet = (CONTRIB / "logrotate" / "fastlog").read_text()
    signalled = "systemctl kill --kill-who=main --signal=HUP fastlog.service"
    assert signalled in snippet
    assert "set MAX_LOG_SIZE_MB=1000000" in snippet
    owner = f"{pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}"
    config = tmp_path / "logrotate.conf"
    config.write_text(
        snippet.replace(signalled, f"kill -HUP {server.process.pid}")
        .replace("/var/log/fastlog", str(tmp_path))
        .replace("su fastlog fastlog", f"su {owner}")
    )
    config.chmod(0o644)
    # As where the log is shipped: a group other than root's may write to the directory.
    if os.geteuid() == 0:
        os.chown(tmp_path, -1, grp.getgrnam("daemon").gr_gid)
    tmp_path.chmod(0o1770)
    numbers = iter(range(10**9))
    enough = threading.Event()

    def send() -> None:
        def datagrams():
            while not enough.is_set():
                yield b'{"sequence":%d,"level":"INFO","message":"m"}' % next(numbers)

        server.send(datagrams())

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(6):
            while not (tmp_path / "server.log").stat().st_size:
                os.sched_yield()
            done = run("logrotate", "--force", "--state", str(tmp_path / "state"), str(config))
            assert done.returncode == 0, done.stderr
            server.wait_for_message("SIGHUP: log file reopened: ")
    finally:
        enough.set()
        sender.join()
    server.stop()
    archives = sorted(tmp_path.glob("server.log.[0-9]*"), key=lambda path: -int(path.name.split(".")[2]))
    assert [path.suffix for path in archives] == [".gz"] * 5 + [".1"]
    read = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in archives]
    stored = b"".join([*read, server.log()])
    assert stored == b"".join(b'{"sequence":%d,"level":"INFO","message":"m"}\n' % n for n in range(next(numbers)))
    assert all(read)


@pytest.mark.parametrize("document", ["docs/operations.md", "debian/README.Debian"])
def test_the_settings_beside_logrotate_bound_the_log_as_it_does(document):
    """Without a bound the server would warn that the disk cannot hold files of MAX_LOG_SIZE_MB. Where archives that only
    logrotate deletes take half of LOG_KEEP_MB, it warns as well."""
    snippet = (CONTRIB / "logrotate" / "fastlog").read_text()
    kept, gigabytes = (
        int(re.search(rf"^    {word} (\d+)", snippet, re.MULTILINE)[1]) for word in ("rotate", "maxsize")
    )
    _, _, told = (ROOT / document).read_text().partition("MAX_LOG_SIZE_MB=1000000")
    settings = {name: int(value) for name, value in re.findall(r"(LOG_[A-Z_]+)=(\d+)", told[:250])}
    assert settings["LOG_BACKUPS"] >= kept
    assert settings["LOG_KEEP_MB"] > 2 * kept * gigabytes * 2**30 / 10**6


# Other tools


@pytest.fixture(scope="module")
def metric_names(tmp_path_factory) -> set[str]:
    """The names of the metrics that a server has once it has acknowledged something, and its log is shipped."""
    server = Server(tmp_path_factory.mktemp("metrics"))
    live = server.directory / "server.log"
    shipped_path(live).write_bytes(msgspec.json.encode(Shipped(*identity_of(live), offset=0)))
    try:
        with server.client() as client:
            client.send(ERROR)
            client.recv(100)
        names: set[str] = set()
        while not {"fastlog_ack_latency_seconds_bucket", "fastlog_ship_lag_bytes"} <= names:  # answers may be old
            families = text_string_to_metric_families(get(server.dashboard_port, "/metrics").text)
            names = {sample.name for family in families for sample in family.samples}
    finally:
        server.signal(signal.SIGTERM)
        server.wait()
        server.close()
    return names


def test_the_alerts_name_only_metrics_that_there_are(metric_names):
    rules = yaml.safe_load((CONTRIB / "prometheus" / "fastlog.rules.yml").read_text())["groups"][0]["rules"]
    used = {name for rule in rules for name in re.findall(r"\bfastlog_\w+", rule["expr"])}
    assert used <= metric_names
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert [rule["alert"] for rule in rules if f"`{rule['alert']}`" not in operations] == []


@needs("promtool")
def test_the_metrics_are_as_prometheus_wants_them(start):
    server = start()
    with server.client() as client:
        client.send(ERROR)
        client.recv(100)
    eventually(server.stats, lambda stats: stats["acks"]["latency_ms"]["p50"])
    metrics = get(server.dashboard_port, "/metrics").text
    assert 'fastlog_ack_latency_seconds_bucket{le="0.0001"}' in metrics
    checked = run("promtool", "check", "metrics", input=metrics)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@needs("promtool")
def test_the_alerts_are_what_prometheus_understands():
    checked = run("promtool", "check", "rules", str(CONTRIB / "prometheus" / "fastlog.rules.yml"))
    assert checked.returncode == 0, checked.stderr + checked.stdout


@needs("promtool")
def test_the_alerts_fire_for_a_loss_and_are_silent_without():
    checked = run("promtool", "test", "rules", str(ROOT / "tests" / "alerts.yml"))
    assert checked.returncode == 0, checked.stderr + checked.stdout


def test_the_grafana_dashboard_shows_only_metrics_that_there_are(metric_names):
    dashboard = json.loads((CONTRIB / "grafana" / "fastlog.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    used = {name for query in queries for name in re.findall(r"\bfastlog_\w+", query)}
    assert len(used) > 10
    assert used <= metric_names
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


@needs("lnav")
def test_lnav_reads_the_log(tmp_path):
    formats = tmp_path / "config" / "formats" / "fastlog"
    formats.mkdir(parents=True)
    shutil.copy(CONTRIB / "lnav" / "fastlog.json", formats)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"}
    lnav = ["lnav", "-I", str(tmp_path / "config")]
    checked = run(*lnav, "-C", env=environment)
    assert (checked.returncode, checked.stderr) == (0, "")
    (tmp_path / "server.log").write_text(
        '{"timestamp":"2026-11-24T07:00:00.123456Z","sequence":7,"app":"x","level":"ERROR","message":"a","host":"h"}\n'
        '{"timestamp":"2026-11-24T07:00:01Z","level":"warn","message":"b"}\n'
        '{"timestamp":"2026-11-24T07:00:02Z","level":"custom","message":"c","extra":[1],"source":"h:1"}\n'
    )
    query = ";select log_level, app, sequence, log_body, source from fastlog_log"
    shown = run(*lnav, "-n", "-c", query, "-c", ":write-csv-to -", "server.log", env=environment, cwd=tmp_path)
    assert shown.stdout.splitlines()[-3:] == [
        "error,x,7,a,<NULL>",
        "warning,<NULL>,<NULL>,b,<NULL>",
        "info,<NULL>,<NULL>,c,h:1",
    ], shown
