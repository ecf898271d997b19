from datetime import timedelta
from pathlib import Path

import pytest

from nodewright.failures import BadInput
from nodewright.settings import CreateLimit, Settings, SettingsError, describe_settings


def test_defaults():
    """With an empty environment the settings are those of a local stack."""
    settings = Settings.load({})
    assert settings.api_url == "https://api.linode.com/v4"
    assert (settings.token, settings.database_url, settings.redis_url, settings.port) == (
        None,
        None,
        None,
        None,
    )
    assert settings.create_limits == (CreateLimit(20, 15.0),)
    assert settings.max_hourly_microusd == 50_000_000


def test_empty_means_unset():
    """A variable that is set to nothing counts as not set, as Compose files leave them."""
    assert Settings.load({"LINODE_TOKEN": "", "NODEWRIGHT_PORT": ""}) == Settings.load({})


def test_secrets_are_masked():
    """No secret shows in the repr or text of the settings."""
    secrets = {
        "LINODE_TOKEN": "s3cret-token",
        "NODEWRIGHT_DATABASE_URL": "postgres://u:s3cret-db@h/n",
        "NODEWRIGHT_REDIS_URL": "redis://:s3cret-redis@h:1/0",
        "NODEWRIGHT_ENCRYPTION_KEYS": "s3cret-key",
        "NODEWRIGHT_API_KEY": "s3cret-api",
    }
    settings = Settings.load(secrets)
    assert "s3cret" not in repr(settings) + str(settings)


def test_secrets_by_file(tmp_path):
    """A secret may come by the file that NAME_FILE names, without its line end."""
    (tmp_path / "token").write_text("from-a-file\n")
    settings = Settings.load({"LINODE_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.token.get_secret_value() == "from-a-file"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (
            {"NODEWRIGHT_THREADS": "many"},
            "NODEWRIGHT_THREADS: expected a whole number from 1 to 1000, got 'many'",
        ),
        ({"NODEWRIGHT_PORT": "70000"}, "NODEWRIGHT_PORT: expected a port from 1 to 65535, got '70000'"),
        ({"NODEWRIGHT_CREATE_LIMIT": "20"}, "NODEWRIGHT_CREATE_LIMIT: expected CALLS/SECONDS"),
        ({"NODEWRIGHT_CREATE_LIMIT": "0/15"}, "NODEWRIGHT_CREATE_LIMIT: expected CALLS/SECONDS"),
        ({"NODEWRIGHT_MAX_HOURLY_USD": "-1"}, "NODEWRIGHT_MAX_HOURLY_USD: expected an amount of US dollars"),
        ({"NODEWRIGHT_KEEP": "23h"}, "NODEWRIGHT_KEEP: expected a duration of at least a day, such as 90d"),
        ({"NODEWRIGHT_KEEP": "for ever"}, "NODEWRIGHT_KEEP: expected a duration"),
        ({"NODEWRIGHT_LOG_LEVEL": "loud"}, "NODEWRIGHT_LOG_LEVEL: expected one of debug, info"),
        (
            {"LINODE_API_URL": "api.linode.com"},
            "LINODE_API_URL: expected a URL such as https://api.linode.com/v4",
        ),
        (
            {"NODEWRIGHT_DATABASE_URL": "mysql://h/n"},
            "NODEWRIGHT_DATABASE_URL: expected sqlite:///FILE or postgresql",
        ),
        ({"NODEWRIGHT_REDIS_URL": "localhost:6379"}, "NODEWRIGHT_REDIS_URL: expected redis://HOST:PORT/0"),
        (
            {"LINODE_TOKEN_FILE": "/nowhere"},
            "LINODE_TOKEN_FILE: expected a file that can be read, got '/nowhere'",
        ),
        ({"LINODE_TOKEN": "a", "LINODE_TOKEN_FILE": "b"}, "LINODE_TOKEN and LINODE_TOKEN_FILE are both set"),
    ],
)
def test_wrong_settings(environ, words):
    """A wrong setting is named with its value and with what would be right; it is bad input."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(environ)
    assert words in str(caught.value)
    assert isinstance(caught.value, BadInput)
    assert caught.value.exit_code == 2


def test_all_faults_at_once_and_no_secret_shown():
    """Every wrong setting is reported at once, and the value of a secret is not repeated."""
    with pytest.raises(SettingsError) as caught:
        Settings.load({"NODEWRIGHT_THREADS": "x", "NODEWRIGHT_PORT": "y", "LINODE_TOKEN": "two words"})
    assert len(caught.value.sentences) == 3
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "buckets"),
    [
        ("20/15", (CreateLimit(20, 15.0),)),
        ("5/15,10/30", (CreateLimit(5, 15.0), CreateLimit(10, 30.0))),
        ("0", ()),
    ],
)
def test_create_limits(text, buckets):
    """The limit on creates may be one bucket, several at once, or none."""
    assert Settings.load({"NODEWRIGHT_CREATE_LIMIT": text}).create_limits == buckets


def test_how_long_fleets_are_kept():
    """By default for ever, and nothing is archived; a duration and a folder say otherwise."""
    assert (Settings.load({}).keep_for, Settings.load({}).archive_folder) == (None, None)
    settings = Settings.load({"NODEWRIGHT_KEEP": "90d", "NODEWRIGHT_ARCHIVE": "/srv/old"})
    assert (settings.keep_for, settings.archive_folder) == (timedelta(days=90), Path("/srv/old"))


def test_a_child_gets_these_settings_and_no_others():
    """The environment for a child holds what was set here and nothing that this process's own environment adds."""
    child = Settings.load({"LINODE_TOKEN": "t", "NODEWRIGHT_THREADS": "4"}).environment(NODEWRIGHT_HOME="/h")
    ours = {name: value for name, value in child.items() if name.startswith(("LINODE_", "NODEWRIGHT_"))}
    assert ours == {"LINODE_TOKEN": "t", "NODEWRIGHT_THREADS": "4", "NODEWRIGHT_HOME": "/h"}


def test_every_setting_describes_itself():
    """Each setting has a name, a description and a word on what is expected, for the reference."""
    found = describe_settings()
    assert all(info.name and info.description and info.expected for info in found)
    assert {"LINODE_TOKEN", "LINODE_API_URL", "NODEWRIGHT_HOME"} <= {info.name for info in found}
