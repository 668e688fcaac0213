"""What `fastlog doctor` says of ALERT_COMMAND: how its last run ended, or whether its program is there."""

from datetime import UTC, datetime

from fastlog.commands.checks import Examined, Finding
from fastlog.config import Settings, missing_program

SUBJECT = "alert command"


def check_alerts(server: Examined, settings: Settings) -> Finding:
    alerts = server.stats.alerts if server.stats else None
    if alerts and alerts.last_run is not None:
        at = datetime.fromtimestamp(alerts.last_run, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = f"run {alerts.runs} times, last at {at} for the status {alerts.last_status}"
        if alerts.last_failure:
            return Finding(SUBJECT, "problem", f"{text}, which failed: {alerts.last_failure}", "fastlog serve --check")
        return Finding(SUBJECT, "ok", text)
    # The server hides the command in its stats. Its program is looked for where the setting can be read.
    if problem := missing_program(settings):
        return Finding(SUBJECT, "problem", problem, "fastlog serve --check")
    return Finding(SUBJECT, "ok", "not run yet: the health has not changed" if alerts else "its program is there")
