"""The snapshot as Prometheus text, for `/metrics`, made from the declarations in stats.py. Label values come from
closed sets and settings, never from a sender."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastlog import stats as declared
from fastlog.stats import Stats

__all__ = ["CONTENT_TYPE", "exposition"]

SHOWN = [(figure, figure.metric) for figure in declared.figures() if figure.metric]


def exposition(stats: Stats) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(stats))
    return bytes(generate_latest(registry))


class _Collector(Collector):
    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """A metric whose figures are all unknown is left out, as Prometheus wants it."""
        yield InfoMetricFamily("fastlog", "The server.", value={"version": self._stats.version})
        families: dict[str, Metric] = {}
        for figure, shown in SHOWN:
            value = _look_up(self._stats, figure.key)
            if value is not None:
                family = families.setdefault(shown.name, Metric(shown.name, f"{figure.meaning}.", shown.type))
                _add_samples(family, shown, value)
        yield from families.values()


def _look_up(stats: Stats, key: str) -> Any:
    """The figure, None if the struct that it is part of is not there; of the structs in a list, a table with the figure
    of each."""
    value: Any = stats
    for name in key.split("."):
        if value is None:
            break
        if isinstance(value, list):
            return {item.address: getattr(item, name) for item in value if getattr(item, name) is not None}
        value = getattr(value, name)
    return value


def _add_samples(family: Metric, shown: declared.Metric, value: Any) -> None:
    if not shown.label:
        family.add_sample(shown.full_name, {}, shown.convert(value))
        return
    for key, count in value.items():
        family.add_sample(shown.full_name, {shown.label: key}, shown.convert(count))
    if shown.type == "histogram":
        family.add_sample(f"{shown.name}_count", {}, float(max(value.values())))
