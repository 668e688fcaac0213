"""Names of levels: one table in entry.py has them for everybody."""

import json
import re
from pathlib import Path

import pytest

from fastlog._parse import scan
from fastlog.entry import ALIASES, LEVELS, OTHER_NAMES, decode, known_level, level_of

LNAV = Path(__file__).parents[2] / "contrib/lnav/fastlog.json"
# What the names mean where they come from. A library's levels are given from the least to the most serious, so that a
# name's place can be checked as well.
SCALES = {
    "RFC 5424": "debug informational notice warning error critical alert emergency",
    "RFC 5424 in numbers": "7 6 5 4 3 2 1 0",
    "syslog.conf": "debug info notice warning err crit alert emerg",
    "PSR-3": "DEBUG INFO NOTICE WARNING ERROR CRITICAL ALERT EMERGENCY",
    "java.util.logging": "FINEST FINER FINE CONFIG INFO WARNING SEVERE",
    "Log4j": "TRACE DEBUG INFO WARN ERROR FATAL",
    ".NET": "Trace Debug Information Warning Error Critical",
    ".NET console": "trce dbug info warn fail crit",
    "Serilog": "Verbose Debug Information Warning Error Fatal",
    "Serilog, short": "VRB DBG INF WRN ERR FTL",
    "zerolog console": "TRC DBG INF WRN ERR FTL PNC",
    "OpenTelemetry": "TRACE TRACE2 TRACE3 TRACE4 DEBUG DEBUG2 DEBUG3 DEBUG4 INFO INFO2 INFO3 INFO4 "
    "WARN WARN2 WARN3 WARN4 ERROR ERROR2 ERROR3 ERROR4 FATAL FATAL2 FATAL3 FATAL4",
    "pino": "trace debug info warn error fatal",
    "pino in numbers": "10 20 30 40 50 60",
    "npm": "silly debug verbose http info warn error",
    "zap": "debug info warn error dpanic panic fatal",
    "Apple": "debug info error fault",
    "Android": "VERBOSE DEBUG INFO WARN ERROR ASSERT",
    "one letter": "V D I W E F",
    "MongoDB": "D5 D4 D3 D2 D1 I W E F",
    "nginx": "debug info notice warn error crit alert emerg",
    "Apache": "trace8 trace7 trace6 trace5 trace4 trace3 trace2 trace1 debug info notice warn error crit alert emerg",
    "PostgreSQL": "DEBUG5 DEBUG4 DEBUG3 DEBUG2 DEBUG1 INFO NOTICE WARNING ERROR FATAL PANIC",
    "MySQL": "Note Warning Error",
    "loguru": "TRACE DEBUG INFO SUCCESS WARNING ERROR CRITICAL",
}


def verdicts(name: str) -> set[str | None]:
    entry = json.dumps({"level": name, "message": "m"}).encode()
    return {scan(entry)[0][1], decode(entry)[0].level, level_of(name)}


@pytest.mark.parametrize("name", [*LEVELS, *ALIASES])
def test_a_level_is_known_by_each_of_its_names_without_case(name):
    meant = ALIASES.get(name, name)
    assert known_level(name) == meant
    assert verdicts(name) | verdicts(name.lower()) | verdicts(name.title()) == {meant}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_a_scale_is_known_and_keeps_its_order(scale):
    levels = [known_level(name) for name in scale.split()]
    assert None not in levels
    assert "OTHER" not in levels
    numbers = [LEVELS.index(level) for level in levels]
    assert numbers == sorted(numbers)


def test_the_worst_levels_of_a_scale_are_priority_entries():
    worst = {verdict for scale in SCALES.values() for verdict in verdicts(scale.split()[-1])}
    assert worst == {"ERROR", "CRITICAL"}


def test_no_name_has_two_meanings():
    names = [name for names in OTHER_NAMES.values() for name in names]
    assert len(names) == len(set(names))
    assert not set(names) & set(LEVELS)


@pytest.mark.parametrize(
    "name", ["", "LOUD", " INFO", "\u0131nfo", "ERROR\0", "8", "DEFAULT", "UNKNOWN", "OFF", "ALL", "\u0663"]
)
def test_other_names_are_not_known(name):
    assert known_level(name) is None
    assert verdicts(name) == {"OTHER"}


def test_half_a_character_is_no_level():
    assert known_level("\ud800") is None


def test_lnav_knows_the_names_of_levels():
    patterns = json.loads(LNAV.read_text())["fastlog_log"]["level"]
    for name in (*LEVELS[:-1], *ALIASES):
        found = [level for level, pattern in patterns.items() if re.search(pattern, name)]
        assert found == [known_level(name).lower()], name
    for name in ("INFOS", "DEBUG6", "9", "100", "CRITICALITY", ""):
        assert not any(re.search(pattern, name) for pattern in patterns.values()), name
