// The names of levels: the server's six, and what else senders call them.

export const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OTHER"];
const OTHER_NAMES = {
  // made by make docs: aliases. Change fastlog/entry.py instead.
  DEBUG: "TRACE VERBOSE SILLY HTTP CONFIG FINE FINER FINEST TRACE1 TRACE2 TRACE3 TRACE4 TRACE5 TRACE6 TRACE7 TRACE8 DEBUG1 DEBUG2 DEBUG3 DEBUG4 DEBUG5 D1 D2 D3 D4 D5 DBG DBUG TRC TRCE VRB D T V 7 10 20",
  INFO: "NOTICE INFORMATION INFORMATIONAL NOTE LOG SUCCESS INFO2 INFO3 INFO4 INF I 5 6 30",
  WARNING: "WARN WARN2 WARN3 WARN4 WRN W 4 40",
  ERROR: "ERR SEVERE FAIL ERROR2 ERROR3 ERROR4 E 3 50",
  CRITICAL: "CRIT FATAL ALERT EMERG EMERGENCY PANIC DPANIC FAULT ASSERT FATAL2 FATAL3 FATAL4 FTL PNC C F 0 1 2 60",
  // end of aliases.
};
const LEVEL_OF_NAME = new Map(
  Object.entries(OTHER_NAMES).flatMap(([level, names]) => names.split(" ").map((name) => [name, level])),
);

// The level that the server counts an entry under.
export function knownLevel(text) {
  const level = text.replace(/[a-z]/g, (letter) => letter.toUpperCase()); // other letters have no case here
  if (LEVELS.includes(level)) return level;
  return LEVEL_OF_NAME.get(level) ?? "OTHER";
}
