"""The index template in contrib/, held against the fields that fastlog stores."""

import json
import re
from pathlib import Path

import pytest

from fastlog.entry import STAMP_KEYS

ROOT = Path(__file__).parents[2]
TEMPLATE = json.loads((ROOT / "contrib/elasticsearch/fastlog-template.json").read_text())
MAPPINGS = TEMPLATE["template"]["mappings"]
# The types that Elasticsearch and OpenSearch both have in every version that is maintained.
TYPES = {"date_nanos", "keyword", "text", "long", "double", "object"}


def fields_of_protocol() -> set[str]:
    """The fields of an entry, and those that syslog and GELF become, from the tables of docs/protocol.md."""
    text = (ROOT / "docs/protocol.md").read_text()
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def mapping(value) -> str:
    """How a field that the template does not name is mapped, by its first value."""
    kind = {str: "string", bool: "boolean", int: "long", float: "double"}[type(value)]
    for rule in MAPPINGS["dynamic_templates"]:
        ((_, found),) = rule.items()
        if found["match_mapping_type"] == kind:
            return found["mapping"]["type"]
    raise AssertionError(f"no rule for {kind}")


def test_it_is_a_composable_index_template_for_the_index_of_the_documents():
    assert TEMPLATE["index_patterns"] == ["fastlog*"]
    assert TEMPLATE["priority"] > 100, "Elasticsearch has templates of its own with 100"
    assert set(TEMPLATE) <= {"index_patterns", "priority", "version", "_meta", "template"}


def test_every_field_that_fastlog_stores_has_a_type():
    known = {"level", "message", "sequence", "timestamp", "app", "host", *STAMP_KEYS}
    known |= {"facility", "severity", "pid", "msgid", "seqno", "sd", "stamp", "charset"}
    protocol = fields_of_protocol()
    assert known <= protocol, "the protocol has other fields"
    assert {"@timestamp", *known} == set(MAPPINGS["properties"])


def test_every_type_is_known_to_elasticsearch_and_opensearch():
    rules = [rule["mapping"] for named in MAPPINGS["dynamic_templates"] for rule in named.values()]
    assert {field["type"] for field in [*MAPPINGS["properties"].values(), *rules]} <= TYPES


@pytest.mark.parametrize("field", ["pid", "msgid", "seqno", "level", "app", "host", "source", "stamp"])
def test_texts_are_texts_even_if_they_look_like_numbers(field):
    assert MAPPINGS["properties"][field]["type"] == "keyword"


@pytest.mark.parametrize(("value", "kind"), [("x", "keyword"), (True, "keyword"), (1, "double"), (1.5, "double")])
def test_a_field_of_a_sender_never_refuses_another_sender_s_scalar(value, kind):
    assert mapping(value) == kind
    assert not MAPPINGS["date_detection"]
    assert not MAPPINGS["numeric_detection"]
    for named in MAPPINGS["dynamic_templates"]:
        for rule in named.values():
            assert rule["mapping"]["type"] == "keyword" or rule["mapping"]["ignore_malformed"]


def test_the_keys_of_strangers_are_bounded():
    settings = TEMPLATE["template"]["settings"]
    assert len(MAPPINGS["properties"]) < settings["index.mapping.total_fields.limit"] <= 1000
    assert MAPPINGS["properties"]["sd"] == {"type": "object", "enabled": False}


@pytest.mark.parametrize("field", ["sequence", "timestamp", "received"])
def test_a_value_that_the_type_cannot_hold_does_not_refuse_the_document(field):
    assert MAPPINGS["properties"][field]["ignore_malformed"] is True
