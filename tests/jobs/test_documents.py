import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.documents import MAX_CHARACTERS, load_document, read_document, to_json_document
from jobs.labels import labels_of
from jobs.requests import InvalidRequest, RequestFault, parse_request

EXAMPLES = Path(__file__).parents[2] / "examples"
WEB = "name: web\ntype: g6-nanode-1\nregion: us-east\n"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA ann@example"
FILES = {"init.yaml": "#cloud-config\n", "ann.pub": f"{KEY}\n\n# a comment\n", "bob.pub": f"{KEY}2"}


def read(name):
    """Return the text of a file that exists only here."""
    if name == "binary":
        return b"\xff".decode()
    if name not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[name]


def refusal(text, read_file=read):
    """Return the error that a file is refused with."""
    with pytest.raises(InvalidRequest) as caught:
        load_document(text, source="fleet.yaml", read_file=read_file)
    return caught.value


@pytest.mark.parametrize(
    ("name", "total", "first", "last"),
    [
        ("web.yaml", 40, "web-0001", "web-0040"),
        ("shop.yaml", 27, "shop-front-us-ord-001", "shop-db-3"),
        ("build.yaml", 22, "build-runner-0001", "build-spare-0002"),
    ],
)
def test_examples_are_read(name, total, first, last):
    """Each example is a fleet as its comments say."""
    request = load_document((EXAMPLES / name).read_text(), source=name, read_file=read)
    labels = [label for group in labels_of(request) for label in group]
    assert (request.total, labels[0], labels[-1]) == (total, first, last)


def test_every_example_is_tested():
    """No example file goes unread by the tests."""
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == {"web.yaml", "shop.yaml", "build.yaml"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WEB + "regoin: x\n", "fleet.yaml:4: regoin: unknown key; did you mean `region`?"),
        (WEB + "\n\ncount: '3'\n", "fleet.yaml:6: count: expected a whole number, got text '3'"),
        (WEB + "count: 0\n", "fleet.yaml:4: count: must be greater than or equal to 1, got 0"),
        (WEB + "region: us-west\n", "fleet.yaml:4: region: the key stands twice, first on line 3"),
        (WEB + "tags:\n  - abc\n  - 3\n", "fleet.yaml:6: tags[1]: expected text, got 3"),
        (
            WEB + "image: !!python/name:os.system x\n",
            "fleet.yaml:4: image: YAML tags (`!…`) are not supported",
        ),
        (WEB + "tags: !!set {a, b}\n", "fleet.yaml:4: tags: YAML tags"),
        (WEB + "count: !!int x\n", "fleet.yaml:4: count: is no int"),
        (WEB + "booted: !!bool x\n", "fleet.yaml:4: booted: is no bool"),
        (WEB + "<<: {count: 3}\n", "document: merge keys (`<<`) are not supported"),
        (WEB + "1: 3\n", "document: a key is not text"),
        (WEB + "? [a]\n: 3\n", "document: a key is not text"),
        (WEB + "tags: [abc\n", "fleet.yaml:5: document: malformed YAML at column 1: did not find"),
        (
            WEB + "user_data: *hunter2\n",
            "fleet.yaml:4: document: malformed YAML at column 12: found undefined alias;",
        ),
        (WEB + "---\n" + WEB, "fleet.yaml:4: document: malformed YAML"),
        (WEB + "image: a\x00\n", "fleet.yaml:4: document: holds characters that YAML does not allow"),
        (WEB + "image: \ud800\n", "document: holds characters that YAML does not allow"),
        (WEB + "image: " + "[" * 40, "fleet.yaml:4: document: nested deeper than 32 levels"),
        ("[" * 100_000, "document: malformed YAML at column"),
        ("", "fleet.yaml: document: the file is empty"),
        ("# nothing\n", "fleet.yaml: document: the file is empty"),
        ("- a\n", "fleet.yaml:1: document: expected a mapping of fields, got a list"),
        ("web", "fleet.yaml:1: document: expected a mapping of fields, got text"),
        ("#" * (MAX_CHARACTERS + 1), "fleet.yaml: document: longer than 1048576 characters"),
        ("name: web\ngroups: 3\n", "fleet.yaml:2: groups: expected a list, got 3"),
        ("name: web\ngroups: [3]\n", "fleet.yaml:2: groups[0]: expected a mapping of fields, got 3"),
        ("name: web\ngroups:\n  - type: t\n", "fleet.yaml:3: groups[0].region: is required; add it"),
        (WEB + "user_data_file: gone\n", "fleet.yaml:4: user_data_file: 'gone' can't be read: No such file"),
        (WEB + "user_data_file: binary\n", "fleet.yaml:4: user_data_file: 'binary' is not UTF-8 text"),
        (WEB + "user_data_file: 3\n", "fleet.yaml:4: user_data_file: expected the path of a file"),
        (WEB + "user_data_file: init.yaml\nuser_data: x\n", "user_data_file: user_data is given as well"),
        (
            WEB + "authorized_keys_file: [ann.pub, gone]\n",
            "fleet.yaml:4: authorized_keys_file: 'gone' can't be",
        ),
        (
            WEB + "authorized_keys_file: ann.pub\nauthorized_keys: 3\n",
            "fleet.yaml:5: authorized_keys: expected a list",
        ),
    ],
)
def test_faults_have_lines(text, expected):
    """A wrong file is refused with the file, the line, the field and the remedy, and nothing else about it."""
    (line,) = str(refusal(text)).splitlines()
    assert expected in line


def test_all_faults_in_the_order_of_lines():
    """Faults of YAML, of named files and of shape come together, from the top of the file to its end."""
    text = "name: web\ncount: x\nuser_data_file: gone\ntype: t\ntype: t\nregoin: x\n"
    error = refusal(text)
    assert [fault.line for fault in error.faults] == [1, 2, 3, 5, 6]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a, *a, *a]\n",
        "a: &a {b: *a}\n",
        "a: &a ["
        + "1," * 99
        + "]\nb: &b ["
        + "*a," * 99
        + "]\nc: &c ["
        + "*b," * 99
        + "]\nd: ["
        + "*c," * 99
        + "]\n",
        "a: &a '" + "x" * 500_000 + "'\nb: [" + "*a," * 9999 + "]\n",
    ],
)
def test_alias_bombs_are_refused(text):
    """Aliases that would unfold without end, or to millions of values, are refused once and early."""
    assert str(refusal(text)).count("aliases make the document too large or endless") == 1


def test_aliases_are_read():
    """A value may be written once and used again."""
    text = (
        "name: web\ngroups:\n  - {type: &t g6-nanode-1, region: us-east}\n  - {type: *t, region: us-west}\n"
    )
    assert [group.type for group in load_document(text, source="f").groups] == ["g6-nanode-1"] * 2


def test_dates_are_text():
    """A date without quotes is text, as it would be in JSON."""
    assert load_document(WEB.replace("web", "2026-01-31"), source="f").name == "2026-01-31"


def test_named_files_are_read():
    """User data and keys come from the files that the document names, in each group."""
    text = (
        "name: web\ngroups:\n  - type: t\n    region: r\n    user_data_file: init.yaml\n"
        f"    authorized_keys: ['{KEY}0']\n    authorized_keys_file: [ann.pub, bob.pub]\n"
    )
    group = load_document(text, source="f", read_file=read).groups[0]
    assert group.secrets() == {"user_data": "#cloud-config\n"}
    assert group.authorized_keys == [f"{KEY}0", KEY, f"{KEY}2"]


def test_files_need_a_reader():
    """Where no files can be read, a file that is named is a fault."""
    assert "files can't be read here" in str(refusal(WEB + "user_data_file: init.yaml\n", read_file=None))


def test_secrets_stay_out_of_faults():
    """No secret of a wrong file is in the error, its context, or the document's repr."""
    error = refusal(WEB + "root_pass: hunter2-secret\ncount: x\nroot_pass: hunter2-secret\n")
    assert "hunter2" not in repr(error) + str(error)
    assert refusal("root_pass: hunter2-secret\na: [").__context__ is None
    assert "hunter2" not in repr(read_document(WEB + "root_pass: hunter2-secret\n", source="f"))


def test_later_faults_get_lines():
    """A fault that the service finds is shown with the line of the file, also for what a file was named for."""
    text = WEB + "user_data_file: init.yaml\n"
    document = read_document(text, source="fleet.yaml", read_file=read)
    places = ["/region", "/user_data", "/user_data/deeper", "/absent", ""]
    faults = [
        RequestFault(code="x", pointer=place, field="f", message="is odd", remedy="mend it")
        for place in places
    ]
    assert [fault.line for fault in document.located(faults).faults] == [3, 4, 4, 1, 1]


@pytest.mark.parametrize(
    "text",
    [
        WEB + "tags: [abc]\nroot_pass: correct-horse\nstackscript_data: {a: b}\n",
        "name: web\ntags: [abc]\ngroups:\n  - {type: t, region: r, tags: [def], user_data: x}\n",
    ],
)
def test_json_document_means_the_same(text):
    """The JSON document that is submitted is the same request, in the form in which it was typed."""
    request = load_document(text, source="f")
    assert parse_request(json.loads(json.dumps(to_json_document(request)))) == request


@given(st.text())
def test_any_text_is_read_or_refused(text):
    """No text makes the reader fail in another way."""
    try:
        request = load_document(text, source="f", read_file=read)
    except InvalidRequest as error:
        request = error.faults
    assert request


@given(st.text(alphabet="ab:- \n[]{}&*!'\"#|>?<1.", max_size=60))
def test_any_yaml_is_read_or_refused(text):
    """No YAML makes the reader fail in another way."""
    test_any_text_is_read_or_refused.hypothesis.inner_test(WEB + "image: " + text)
