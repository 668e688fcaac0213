"""What the reference and the converter of syslog have in common: names and limits. It imports nothing, since every
server loads it."""

# In the order of their numbers, which a PRI holds as 8 * facility + severity. The names are those of rsyslog.
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
# Zone words that stand behind a stamp without any mark. None but the first two says the same to everybody.
ZONE_WORDS = (
    "UTC", "GMT", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "CET", "CEST", "MET", "MEST", "WET", "WEST",
    "EET", "EEST", "BST", "IST", "MSK", "JST", "KST", "AEST", "AEDT", "NZST", "NZDT",
)  # fmt: skip
# Elements and parameters of a message's structured data. Real messages have less than a hundred.
SD_MAX = 256
# Of a zone's abbreviation, at most: longer ones, which only TZ can have, are cut, and then no stamp has them.
ZONE_NAME_BYTES = 8
