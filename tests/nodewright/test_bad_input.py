"""Every kind of bad input that a person may type: one clear message with field, value and remedy; nothing stored."""

import pytest

from simulator import background

GOOD = {"--name": "web", "--type": "g6-nanode-1", "--region": "us-east", "--image": "linode/debian12"}

MIXED = """\
name: web
groups:
- {cuont: 3, type: t, region: r}
- {count: 0, type: t, region: r,
   tags: hello}
"""


def _options(**changes):
    given = {**GOOD, **{f"--{name.replace('_', '-')}": value for name, value in changes.items()}}
    return [part for option, value in given.items() for part in (option, value)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "g6-nanod-1"}, "--type: there is no type 'g6-nanod-1'; did you mean `g6-nanode-1`?"),
        ({"region": "us-esat"}, "--region: there is no region 'us-esat'; did you mean `us-east`?"),
        (
            {"image": "linode/debain12"},
            "--image: there is no image 'linode/debain12'; did you mean `linode/debian12`?",
        ),
        ({"image": "linode/windows"}, "'linode/windows'; choose one of the 3 that the catalog lists"),
        (
            {"image": "private/1002"},
            "needs 60000 MB, and type 'g6-nanode-1' leaves it 25600 MB; choose a type with a",
        ),
        (
            {"type": "g1-gpu-rtx6000-1"},
            "needs the capability 'GPU Linodes', which region 'us-east' lacks; choose",
        ),
        ({"type": "g1-gpu-rtx6000-1"}, "such as us-ord [region_lacks_capability]"),
        ({"name": "we b"}, "--name: the label 'we b-0001' may hold only letters, digits"),
        ({"count": "2", "label_pattern": "same"}, "all 2 instances would be called 'same'; add {index}"),
        ({"label_pattern": "{nam}-{index}"}, "`{nam}` is not a field; the fields are name,"),
        ({"label_pattern": "{index"}, "--label-pattern: the pattern can't be read"),
        ({"count": "0"}, "--count: must be greater than or equal to 1, got 0"),
        ({"count": "-3"}, "--count: must be greater than or equal to 1, got -3"),
        ({"count": "10001"}, "asks for 10001 instances, and one fleet may have 10000; split it"),
        ({"count": "2.5"}, "expected a whole number, got '2.5'"),
        (
            {"count": "51"},
            "51 instances are more than the 50 left of 50; ask for fewer, or have the guard raised",
        ),
        ({"tags": "a,x y z"}, "--tags: the tag has 1 characters, and a tag has 3 to 50, got 'a'"),
    ],
)
def test_options(served, run, changes, words):
    """An option that is wrong is named with its value and what to do, with exit code 2, and nothing is stored."""
    done = run("submit", *_options(**changes), env={**served.env, "COLUMNS": "200"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert run("fleets", "--json", env=served.env).stdout == '{\n  "fleets": []\n}\n'


@pytest.mark.parametrize(
    ("option", "content", "changes", "words"),
    [
        (
            "--user-data-file",
            b"x" * 70_000,
            {"image": "linode/debian9"},
            "has 70000 bytes, and the API takes 65535",
        ),
        ("--user-data-file", b"\xff\xfe\x00", {}, "is not UTF-8 text"),
        (
            "--user-data-file",
            b"#!/bin/sh",
            {},
            "lacks the capability 'cloud-init', so nothing would read the user data",
        ),
        (
            "--user-data-file",
            b"#!/bin/sh",
            {"region": "us-west"},
            "user data needs the capability 'Metadata', which",
        ),
        ("--authorized-keys-file", b"# none\n\n", {}, "holds no public key"),
        ("--authorized-keys-file", b"hello\n", {}, "this is no SSH public key"),
        ("--authorized-keys-file", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", {}, "this is a private key"),
    ],
)
def test_files_that_options_name(served, run, tmp_path, option, content, changes, words):
    """A file that cannot serve is refused with the reason, and its content is not repeated."""
    path = tmp_path / "given"
    path.write_bytes(content)
    done = run("submit", *_options(**changes), option, str(path), env=served.env)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert "hello" not in done.stderr


@pytest.mark.parametrize("password", ["w3ak", "aaaaaaaaaaaa"])
def test_weak_passwords(served, run, password):
    """A weak password is refused without being repeated."""
    done = run("submit", *_options(), "--root-pass-stdin", env=served.env, stdin=f"{password}\n")
    assert done.exit_code == 2
    assert "[weak_password]" in done.stderr
    assert password not in done.stderr


def test_a_label_that_is_taken(served, run):
    """A label of a job that may own an instance cannot be asked for again."""
    assert run("submit", *_options(), env=served.env).exit_code == 0
    done = run("submit", *_options(), "--on-existing", "new", env=served.env)
    assert done.exit_code == 2
    assert "label 'web-0001' is in use; choose another name or label_pattern [label_taken]" in done.stderr


def test_a_deprecated_image_is_a_warning(served, run):
    """A deprecated image is warned of, in terms of the option, and the fleet is accepted."""
    done = run("submit", *_options(image="linode/debian9"), env=served.env)
    assert done.exit_code == 0
    assert "warning: --image: image 'linode/debian9' is deprecated; choose a newer image" in done.stderr
    assert "1 instance." in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: web\ncount: [3\ntype: x\n", ["fleet.yaml:3: document: malformed YAML"]),
        ("name: web\n\tcount: 3\n", ["fleet.yaml:2: document: malformed YAML at column 1"]),
        ("just text", ["expected a mapping of fields, got text"]),
        ("name: web\nname: two\n", ["fleet.yaml:2: name: the key stands twice, first on line 1"]),
        ("name: a\n---\nname: b\n", ["found another document"]),
        (
            "name: yes\ntype: t\nregion: r\n",
            ["fleet.yaml:1: name: expected text, got true; put quotes round"],
        ),
        (
            MIXED,
            [
                "fleet.yaml:3: groups[0].cuont: unknown key, got 'cuont'; did you mean `count`?",
                "fleet.yaml:4: groups[1].count: must be greater than or equal to 1, got 0",
                "fleet.yaml:5: groups[1].tags: expected a list, got text 'hello'",
            ],
        ),
        (
            "name: web\ntype: g6-nanode-1\nregion: us-east\nimage: linode/debian12\nauthorized_keys_file: empty\n",
            ["fleet.yaml:5: authorized_keys_file: the file holds no public key"],
        ),
    ],
)
def test_fleet_files(served, run, tmp_path, text, words):
    """Whatever is wrong with a fleet file is said at once, each with its line."""
    (tmp_path / "empty").write_text("# no key yet\n")
    (tmp_path / "fleet.yaml").write_text(text)
    done = run("submit", str(tmp_path / "fleet.yaml"), env=served.env)
    assert done.exit_code == 2
    for one in words:
        assert one in done.stderr


def test_a_server_that_is_not_ours(run, served):
    """An address where something else answers is told as such."""
    with background() as api:
        done = run("fleets", env={**served.env, "NODEWRIGHT_URL": api.url.removesuffix("/v4")})
    assert done.exit_code == 2
    assert "/v1/fleets answered 404, and not as Nodewright does; is that its address?" in done.stderr


def test_an_unknown_state(served, run):
    """A state that does not exist is answered with those that do."""
    done = run("jobs", "--state", "bogus", env=served.env)
    assert done.exit_code == 2
    assert "state: expected one of 'submitted', 'rejected'" in done.stderr
