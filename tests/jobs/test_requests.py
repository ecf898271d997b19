import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.requests import (
    GROUP_FIELDS,
    SECRET_FIELDS,
    GroupRequest,
    InvalidRequest,
    RequestFault,
    RequestWarning,
    encode_user_data,
    field_name,
    json_pointer,
    nearest,
    parse_request,
    printable,
)

FLAT = {"name": "web", "type": "g6-nanode-1", "region": "us-east"}
GROUP = {"type": "g6-nanode-1", "region": "us-east"}
SECRETS = {
    "root_pass": "correct-horse-9",
    "user_data": "#cloud-config\npassword: battery-staple\n",
    "stackscript_data": {"db_password": "tr0ub4dor"},
}


def refusal(data):
    """Return the error that a document is refused with."""
    with pytest.raises(InvalidRequest) as caught:
        parse_request(data)
    return caught.value


def only_fault(data):
    """Return the one fault of a document."""
    (fault,) = refusal(data).faults
    return fault


def test_defaults():
    """A document with name, type and region is one instance, booted, with nothing else asked for."""
    request = parse_request(FLAT)
    (group,) = request.groups
    assert (request.total, group.count, group.booted, group.image) == (1, 1, True, None)
    assert (request.on_invalid, request.priority, request.has_secrets) == ("refuse", 0, False)


def test_flat_document_equals_its_group():
    """Group fields at top level mean the same as one group, and faults point at where they were typed."""
    flat = parse_request({**FLAT, "count": 3, "tags": ["abc"]})
    nested = parse_request({"name": "web", "tags": ["abc"], "groups": [{**GROUP, "count": 3}]})
    assert flat.public() == nested.public()
    assert (flat.flat, nested.flat) == (True, False)
    assert flat.place(0, "region") == ("/region", "region")
    assert nested.place(0, "region") == ("/groups/0/region", "groups[0].region")
    assert nested.place(None, "tags", 1) == ("/tags/1", "tags[1]")


def test_total_counts_all_groups():
    """The total is the sum of the groups' counts."""
    assert parse_request({"name": "web", "groups": [{**GROUP, "count": 3}, GROUP]}).total == 4


def test_tags_of_a_group():
    """A group's instances carry the fleet's tags and its own, each once."""
    request = parse_request(
        {"name": "web", "tags": ["one", "two"], "groups": [{**GROUP, "tags": ["two", "six"]}]}
    )
    assert request.tags_of(0) == ["one", "two", "six"]


def test_models_are_frozen():
    """A request can't be changed once it was checked."""
    request = parse_request(FLAT)
    with pytest.raises(ValidationError):
        request.name = "other"


def test_secrets_are_never_shown():
    """No repr, text, JSON or public form of a request holds a secret."""
    request = parse_request({**FLAT, **SECRETS})
    shown = [repr(request), str(request), request.model_dump_json(), json.dumps(request.public())]
    for secret in ("correct-horse-9", "battery-staple", "tr0ub4dor"):
        assert not any(secret in text for text in shown)
    assert request.has_secrets


def test_secrets_are_revealed_on_demand():
    """`secrets()` returns exactly the secrets that were given."""
    assert parse_request({**FLAT, **SECRETS}).groups[0].secrets() == SECRETS
    assert parse_request(FLAT).groups[0].secrets() == {}


def test_group_is_restored():
    """A group is rebuilt from its public form and its secrets, or without them."""
    extra = {"interfaces": [{"purpose": "public"}], "placement_group": {"id": 7, "compliant_only": True}}
    several = {"type": ["a", "b"], "regions": {"c": 2, "d": 1}, "prefer": "cheapest"}
    flat = {key: value for key, value in FLAT.items() if key != "region"}
    group = parse_request({**flat, **SECRETS, **extra, **several}).groups[0]
    public = json.loads(json.dumps(group.public()))
    assert GroupRequest.restore(public, group.secrets()) == group
    assert GroupRequest.restore(public).secrets() == {}
    assert SECRET_FIELDS.isdisjoint(public)


@pytest.mark.parametrize("data", [None, [], "name: web", 3])
def test_document_must_be_a_mapping(data):
    """Anything but a mapping is refused as a whole."""
    fault = only_fault(data)
    assert (fault.pointer, fault.field) == ("", "")
    assert str(fault).startswith("document: expected a mapping of fields, got")


@pytest.mark.parametrize(
    ("change", "pointer", "words"),
    [
        ({"count": "3"}, "/count", "expected a whole number, got text '3'"),
        ({"count": 1.5}, "/count", "got 1.5"),
        ({"count": True}, "/count", "expected a whole number, got true"),
        ({"count": 0}, "/count", "must be greater than or equal to 1, got 0"),
        ({"count": -1}, "/count", "must be greater than or equal to 1, got -1"),
        ({"priority": 101}, "/priority", "must be less than or equal to 100, got 101"),
        ({"booted": "yes"}, "/booted", "expected true or false, got text 'yes'"),
        ({"type": {"a": 1}}, "/type", "expected text, got a mapping"),
        ({"type": []}, "/type", "must not be empty"),
        ({"type": ["a", 3]}, "/type/1", "expected text, got 3"),
        ({"region": ["a", ""]}, "/region/1", "must not be empty"),
        ({"region": ["a"] * 11}, "/region", "at most 10 items"),
        ({"prefer": "dearest"}, "/prefer", "must be 'order' or 'cheapest'"),
        ({"deadline": "2026-03-01"}, "/deadline", "expected a moment with its zone"),
        ({"not_before": "0001-01-01T00:00:00+10:00"}, "/not_before", "expected a moment with its zone"),
        ({"deadline": 7}, "/deadline", "expected a moment with its zone, got 7"),
        ({"ttl": "2 hours"}, "/ttl", "expected a duration, got text '2 hours'"),
        ({"ttl": True}, "/ttl", "expected a duration, got true"),
        ({"ttl": 0}, "/ttl", "must be greater than or equal to 1, got 0"),
        ({"ttl": "9999d"}, "/ttl", "must be less than or equal to"),
        ({"boot_timeout": 1.5}, "/boot_timeout", "expected a duration, got 1.5"),
        ({"on_failure": 5}, "/on_failure", "expected a mapping of fields, got 5"),
        ({"on_failure": {"stop_after": 0}}, "/on_failure/stop_after", "must be greater than or equal to 1"),
        ({"on_failure": {}}, "/on_failure/stop_after", "is required"),
        ({"type": None}, "/type", "expected text, got nothing"),
        ({"type": ""}, "/type", "must not be empty"),
        ({"name": "x" * 65}, "/name", "must have at most 64 characters"),
        ({"tags": "abc"}, "/tags", "expected a list, got text 'abc'"),
        ({"tags": ["abc", 3]}, "/tags/1", "expected text, got 3"),
        ({"on_invalid": "stop"}, "/on_invalid", "must be 'refuse' or 'skip', got text 'stop'"),
        ({"placement_group": 3}, "/placement_group", "expected a mapping of fields, got 3"),
        ({"placement_group": {}}, "/placement_group/id", "is required"),
        ({"stackscript_data": {"a": 3}}, "/stackscript_data/a", "expected text, got a whole number"),
        ({"swap_size": -1}, "/swap_size", "must be greater than or equal to 0, got -1"),
        ({"root_pass": ["x"]}, "/root_pass", "expected text, got a list"),
        ({"interfaces": [{"a": float("nan")}]}, "/interfaces/0/a", "not a finite number"),
        ({"firewall_id": 2**63}, "/firewall_id", "larger than 64 bits"),
        ({"interfaces": [{"a": {1, 2}}]}, "/interfaces/0/a", "is what JSON has no word for"),
        ({"interfaces": [{"a": {1: 2}}]}, "/interfaces/0/a", "a key is a whole number, not text"),
        ({"stackscript_data": {"a\x00": "b"}}, "/stackscript_data", "the key 'aU+0000' holds a control"),
        ({"name": "a\x00b"}, "/name", "the control character U+0000 at position 2"),
        ({"image": "a\nb"}, "/image", "the control character U+000A at position 2"),
        ({"tags": ["ok1", "a\ud800"]}, "/tags/1", "the control character U+D800 at position 2"),
        ({"user_data": "a\n\t\r\x1b"}, "/user_data", "the control character U+001B at position 5"),
    ],
)
def test_shape_faults(change, pointer, words):
    """A value of the wrong shape is refused with its place, what was expected and what was typed."""
    fault = only_fault({**FLAT, **change})
    assert (fault.code, fault.pointer) == ("invalid_request", pointer)
    assert words in fault.message
    assert fault.remedy


def test_user_data_may_have_lines():
    """User data keeps its newlines and tabs."""
    assert parse_request({**FLAT, "user_data": "a\n\tb\r\n"}).groups[0].secrets() == {
        "user_data": "a\n\tb\r\n"
    }


@pytest.mark.parametrize(
    ("data", "pointer", "close", "remedy"),
    [
        ({**FLAT, "regoin": "x"}, "/regoin", "region", "did you mean `region`?"),
        ({**FLAT, "zzz": "x"}, "/zzz", None, "remove it"),
        (
            {"name": "w", "groups": [{**GROUP, "imge": "x"}]},
            "/groups/0/imge",
            "image",
            "did you mean `image`?",
        ),
        (
            {"name": "w", "groups": [GROUP], "image": "x"},
            "/image",
            None,
            "move it into a group under `groups`",
        ),
        ({"name": "w", "groups": [GROUP], "priorty": 1}, "/priorty", "priority", "did you mean `priority`?"),
        (
            {**FLAT, "placement_group": {"id": 1, "idd": 1}},
            "/placement_group/idd",
            "id",
            "did you mean `id`?",
        ),
        (
            {**FLAT, "on_failure": {"stop_after": 1, "same_case": True}},
            "/on_failure/same_case",
            "same_cause",
            "did you mean `same_cause`?",
        ),
        ({**FLAT, "x" * 500: 1}, "/" + "x" * 120 + "…", None, "remove it"),
    ],
)
def test_unknown_keys(data, pointer, close, remedy):
    """An unknown key is refused with the nearest known one, or with where it belongs."""
    fault = only_fault(data)
    assert (fault.pointer, fault.nearest, fault.remedy) == (pointer, close, remedy)
    assert fault.message == "unknown key"


@pytest.mark.parametrize(
    ("places", "pointer", "words"),
    [
        ({}, "/region", "is required"),
        ({"region": None}, "/region", "is required"),
        ({"region": "a", "regions": ["b"]}, "/regions", "region is given as well"),
        ({"region": "a", "regions": None}, "/regions", "must not be empty"),
        ({"region": None, "regions": ["b"]}, "/region", "must not be empty"),
        ({"regions": {"a": 2, "b": 0}}, "/regions/b", "must be greater than or equal to 1, got 0"),
        ({"regions": {"a": -1}}, "/regions/a", "must be greater than or equal to 1, got -1"),
        ({"regions": {"a": 1.5}}, "/regions/a", "expected a whole number"),
        ({"regions": {}}, "/regions", "must not be empty"),
        ({"regions": "a"}, "/regions", "expected a list, got text 'a'"),
        ({"regions": ["a", 3]}, "/regions/1", "expected text, got 3"),
    ],
)
def test_where_instances_shall_be(places, pointer, words):
    """A group says once where its instances shall be, and each weight of a spread is 1 or more."""
    for data, prefix in (({}, ""), ({"groups": [{"type": "t", **places}]}, "/groups/0")):
        whole = {"name": "web", **(data or {"type": "t", **places})}
        fault = only_fault(whole)
        assert (fault.code, fault.pointer) == ("invalid_request", prefix + pointer)
        assert words in fault.message


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [(90, 90), ("45s", 45), ("90m", 5400), ("2h", 7200), ("3d", 259_200), ("1h30m", 5400)],
)
def test_durations(typed, seconds):
    """A duration is a number of seconds, or written with its units; both are the same request."""
    request = parse_request({**FLAT, "ttl": typed, "boot_timeout": typed})
    assert (request.ttl, request.boot_timeout) == (seconds, seconds)
    assert request.public() == parse_request({**FLAT, "ttl": seconds, "boot_timeout": seconds}).public()


def test_moments():
    """A moment may be written in any zone, and is kept in UTC."""
    request = parse_request({**FLAT, "not_before": "2026-03-01T20:00:00+02:00"})
    assert request.public()["not_before"] == "2026-03-01T18:00:00Z"
    assert parse_request(request.public()).not_before == request.not_before


@pytest.mark.parametrize(
    "data",
    [
        {"root_pas": "hunter2-secret"},
        {"root_pass": {"value": "hunter2-secret"}},
        {"root_pass": ["hunter2-secret"]},
        {"root_pass": "hunter2-secret\x00"},
        {"stackscript_data": "hunter2-secret"},
        {"stackscript_data": {"a": ["hunter2-secret"]}},
        {"authorized_keys": "hunter2-secret"},
        {"groups": [{"root_pass": "hunter2-secret", "type": 3}], "root_pass": "hunter2-secret"},
        {"placement_group": {"root_pass": "hunter2-secret"}},
    ],
)
def test_faults_never_show_a_secret(data):
    """However a secret was mistyped, no fault, error text or exception context repeats it."""
    error = refusal({**FLAT, **data})
    assert "hunter2" not in str(error) + repr(error) + json.dumps([fault.to_json() for fault in error.faults])
    assert error.__context__ is None
    assert error.__cause__ is None


def test_all_faults_at_once():
    """Every fault is reported in one answer, those of the fleet first, then group by group."""
    groups = [{"type": "a", "regoin": "b"}, {**GROUP, "count": 0, "image": "\x00"}]
    faults = refusal({"nam": "web", "groups": groups}).faults
    assert [(fault.group, fault.field) for fault in faults] == [
        (None, "name"),
        (None, "nam"),
        (0, "groups[0].region"),
        (0, "groups[0].regoin"),
        (1, "groups[1].image"),
        (1, "groups[1].count"),
    ]


def test_empty_groups():
    """A fleet without groups is refused."""
    assert only_fault({"name": "web", "groups": []}).message == "must not be empty"


def test_deep_nesting_is_refused():
    """A document that nests a hundred thousand levels is refused, not followed."""
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested deeper" in only_fault({**FLAT, "interfaces": [{"a": deep}]}).message


def test_long_lists_of_faults_are_shortened_as_text():
    """The error's text names the first twenty faults and counts the rest; the value holds all."""
    error = refusal({"name": "web", "groups": [{"type": "a"}] * 25})
    assert len(error.faults) == 25
    assert str(error).endswith("and 5 more")


def test_error_text_names_source_and_line():
    """An error that knows its file says file and line before each fault."""
    fault = RequestFault(code="x", pointer="/a", field="a", message="is odd", remedy="mend it", line=3)
    warning = RequestWarning(code="x", pointer="/a", field="a", message="is odd", remedy="mend it")
    nowhere = RequestFault(code="x", pointer="", field="", message="is odd", remedy="mend it")
    text = str(InvalidRequest([fault, nowhere], source="fleet.yaml"))
    assert text == "fleet.yaml:3: a: is odd; mend it\nfleet.yaml: document: is odd; mend it"
    assert str(warning) == "a: is odd; mend it"


def test_findings_are_values():
    """A fault survives JSON and pickle and compares by value."""
    fault = only_fault({**FLAT, "count": 0})
    assert RequestFault(**json.loads(json.dumps(fault.to_json()))) == fault
    assert pickle.loads(pickle.dumps(fault)) == fault


def test_user_data_is_encoded():
    """User data travels as base64 of its UTF-8 bytes."""
    assert encode_user_data("ü\n") == "w7wK"


@pytest.mark.parametrize(
    ("path", "pointer", "field"),
    [
        ((), "", ""),
        (("groups", 1, "region"), "/groups/1/region", "groups[1].region"),
        (("a/b", "c~d"), "/a~1b/c~0d", "a/b.c~d"),
        (("a\x00",), "/aU+0000", "aU+0000"),
    ],
)
def test_places(path, pointer, field):
    """A path is written as an RFC 6901 pointer for programs and with dots for people."""
    assert (json_pointer(path), field_name(path)) == (pointer, field)


@pytest.mark.parametrize(
    ("word", "close"),
    [("us-eats", "us-east"), ("US-EAST", "us-east"), ("zzzzzz", None), ("us-east" * 99, None)],
)
def test_nearest(word, close):
    """The nearest name is found despite case and slips, and not looked for when the word is absurd."""
    assert nearest(word, ("eu-west", "us-east")) == close


@given(st.text(alphabet=st.characters()))
def test_printable_is_safe_to_print(text):
    """Shown text never holds control characters or lone surrogates and is never long."""
    shown = printable(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    shown.encode()
    assert len(shown) <= 6 * 120 + 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(sorted(GROUP_FIELDS | {"name", "groups", "on_invalid", "priority", "odd"}))


@given(st.dictionaries(FIELDS, JSON, max_size=6))
def test_any_json_is_accepted_or_refused(data):
    """Whatever JSON arrives, the answer is a request that can be stored or a refusal that can be sent."""
    faults, request = (), None
    try:
        request = parse_request({**FLAT, **data})
    except InvalidRequest as error:
        faults = error.faults
    assert bool(faults) is (request is None)
    answer = request.public() if request else [fault.to_json() for fault in faults]
    json.dumps(answer, allow_nan=False, ensure_ascii=False).encode()
