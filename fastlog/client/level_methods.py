"""The methods of a client that are named after levels, as loggers have them."""

from typing import Any

from fastlog.client.record_fields import add_exception, exc_info_of


class LevelMethods:
    """`info("paid", order=1093)` is `send("INFO", "paid", order=1093)`. Of any level, `exc_info` adds an exception, as
    in `logging`: True for the one that is being handled, or the exception itself. None of them blocks or raises."""

    def _put(self, entry: dict[str, object]) -> None:
        raise NotImplementedError

    def debug(self, /, message: object, **fields: Any) -> None:
        self._log("DEBUG", message, fields)

    def info(self, /, message: object, **fields: Any) -> None:
        self._log("INFO", message, fields)

    def warning(self, /, message: object, **fields: Any) -> None:
        self._log("WARNING", message, fields)

    def error(self, /, message: object, **fields: Any) -> None:
        self._log("ERROR", message, fields)

    def critical(self, /, message: object, **fields: Any) -> None:
        self._log("CRITICAL", message, fields)

    def exception(self, /, message: object, **fields: Any) -> None:
        """An ERROR with the exception that is being handled, as `exc_type`, `exc_message` and `traceback`."""
        fields.setdefault("exc_info", True)
        self._log("ERROR", message, fields)

    def _log(self, level: str, message: object, fields: dict[str, Any]) -> None:
        entry: dict[str, object] = {"level": level, "message": message}
        if "exc_info" in fields:
            add_exception(entry, exc_info_of(fields.pop("exc_info")))
        if "level" in fields:
            fields["extra_level"] = fields.pop("level")
        self._put(entry | fields)
