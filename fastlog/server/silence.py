"""Whether the loop hangs, for the threads that it gives a sign of life every second."""

from fastlog.stats import Health

STALLED_SEC = 5.0  # after so long without a sign of life the loop hangs


def silence(silent_sec: float) -> str:
    """Says that the loop hangs; empty: it does not."""
    return f"the server's loop has not answered for {int(silent_sec)} s" if silent_sec > STALLED_SEC else ""


def with_silence(health: Health, silent_sec: float) -> Health:
    """Adds the loop's silence to the reasons, if the loop has fallen silent."""
    text = silence(silent_sec)
    return Health("degraded", [text, *health.reasons], health.warnings) if text else health
