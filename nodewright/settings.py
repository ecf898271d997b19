"""Every setting, read from the environment once, checked, and frozen. No other module reads the environment.

A setting is a field of :class:`Settings`: its alias is the variable's name, its description and ``expected``
are what the reference and the error messages say. Those marked ``file`` may also come by ``NAME_FILE``, the path
of a file that holds the value, which is how Docker and Kubernetes hand over secrets.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from nodewright.failures import BadInput

DEFAULT_PORT: Final = 8480
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
_DATABASE_SCHEMES: Final = re.compile(r"(sqlite|postgres|postgresql)(\+[a-z0-9_]+)?:")
_REDIS_SCHEMES: Final = re.compile(r"(rediss?|valkeys?|unix|redis\+socket|sentinel)://")
_REACHES: Final = frozenset({"no", "loopback", "yes"})
_SHORTEST_KEEP: Final = 86_400
_BUCKET: Final = re.compile(r"(\d+)/(\d+(?:\.\d+)?)")


class SettingsError(BadInput):
    """One or more settings are wrong; the sentences name each with its value, but never a secret."""


@dataclass(frozen=True)
class CreateLimit:
    """``calls`` creates per ``seconds``: one bucket of the API's rate limit."""

    calls: int
    seconds: float


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", value):
        raise ValueError("not an http URL")
    return value.rstrip("/")


def _database_url(value: SecretStr) -> SecretStr:
    if not _DATABASE_SCHEMES.match(value.get_secret_value()):
        raise ValueError("neither SQLite nor PostgreSQL")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    if not _REDIS_SCHEMES.match(value.get_secret_value()):
        raise ValueError("not a Redis URL")
    return value


def _broker_url(value: SecretStr) -> SecretStr:
    if "://" not in value.get_secret_value():
        raise ValueError("not a URL")
    return value


def _one_line(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds a space, a line break or a character that no header carries")
    return value


def _level(value: str) -> str:
    if value.lower() not in _LEVELS:
        raise ValueError("not a level")
    return value.lower()


def _reach(value: str) -> str:
    if value.lower() not in _REACHES:
        raise ValueError("none of these")
    return value.lower()


def _seconds(value: str) -> int:
    from jobs.requests import seconds_of  # noqa: PLC0415 - the client reads settings beside another's `jobs`

    return seconds_of(value)


def _keep(value: str) -> str:
    if _seconds(value) < _SHORTEST_KEEP:
        raise ValueError("less than a day")
    return value


def _limit(value: str) -> str:
    if value.strip() != "0":
        parse_create_limit(value)
    return value


def parse_create_limit(text: str) -> tuple[CreateLimit, ...]:
    """Return the buckets of ``20/15`` or ``5/15,10/30``; ``0`` means no limit, hence none.

    Raises:
        ValueError: the text is neither.

    """
    if text.strip() == "0":
        return ()
    matches = [_BUCKET.fullmatch(part.strip()) for part in text.split(",")]
    buckets = tuple(CreateLimit(int(match[1]), float(match[2])) for match in matches if match)
    if len(buckets) != len(matches) or any(not (one.calls and one.seconds) for one in buckets):
        raise ValueError("not CALLS/SECONDS")
    return buckets


def _of(*, expected: str, file: bool = False, secret: bool = False) -> dict[str, Any]:
    return {"expected": expected, "file": file, "secret": secret}


class Settings(BaseSettings):
    """What the environment says; frozen, and secrets are masked wherever it is printed."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: Annotated[SecretStr, AfterValidator(_one_line)] | None = Field(
        None,
        alias="LINODE_TOKEN",
        description="The personal access token that instances are created with. It needs the scopes "
        "`linodes:read_write` and, for private images, `images:read_only`.",
        json_schema_extra=_of(expected="an access token: one line, no spaces", file=True, secret=True),
    )
    api_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "https://api.linode.com/v4",
        alias="LINODE_API_URL",
        description="Where the Linode API is: another address for the simulator or a proxy.",
        json_schema_extra=_of(expected="a URL such as https://api.linode.com/v4"),
    )
    database_url: Annotated[SecretStr, AfterValidator(_database_url)] | None = Field(
        None,
        alias="NODEWRIGHT_DATABASE_URL",
        description="The database: PostgreSQL or SQLite. Default: a SQLite file in `NODEWRIGHT_HOME`.",
        json_schema_extra=_of(
            expected="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME", file=True, secret=True
        ),
    )
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = Field(
        None,
        alias="NODEWRIGHT_REDIS_URL",
        description="Redis or Valkey. Default: `nodewright up` starts an embedded Valkey of its own.",
        json_schema_extra=_of(expected="redis://HOST:PORT/0", file=True, secret=True),
    )
    broker_url: Annotated[SecretStr, AfterValidator(_broker_url)] | None = Field(
        None,
        alias="NODEWRIGHT_BROKER_URL",
        description="Celery's broker, where it is not the Redis above.",
        json_schema_extra=_of(expected="a broker URL as Celery takes it", file=True, secret=True),
    )
    home: Path = Field(
        Path("~/.nodewright"),
        alias="NODEWRIGHT_HOME",
        description="The folder of the local stack: database, encryption key, logs, the service's address.",
        json_schema_extra=_of(expected="a folder that you may write to"),
    )
    encryption_keys: SecretStr | None = Field(
        None,
        alias="NODEWRIGHT_ENCRYPTION_KEYS",
        description="The keys that secrets at rest are encrypted with, newest first, separated by commas. "
        "Default: `encryption.key` in `NODEWRIGHT_HOME`, made when first needed.",
        json_schema_extra=_of(expected="Fernet keys separated by commas", file=True, secret=True),
    )
    url: Annotated[str, AfterValidator(_http_url)] | None = Field(
        None,
        alias="NODEWRIGHT_URL",
        description="For clients: where the service is. Default: what `up` wrote into `NODEWRIGHT_HOME`.",
        json_schema_extra=_of(expected="a URL such as http://127.0.0.1:8480"),
    )
    api_key: Annotated[SecretStr, AfterValidator(_one_line)] | None = Field(
        None,
        alias="NODEWRIGHT_API_KEY",
        description="For clients: the service's key. Default: the local key in `NODEWRIGHT_HOME`.",
        json_schema_extra=_of(expected="a key as `nodewright` made it", file=True, secret=True),
    )
    host: str = Field(
        "127.0.0.1",
        alias="NODEWRIGHT_HOST",
        description="Where `serve` listens. Beyond loopback it refuses to start before an API key was made.",
        json_schema_extra=_of(expected="an address such as 127.0.0.1 or 0.0.0.0"),
    )
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        alias="NODEWRIGHT_PORT",
        description=f"The service's port. Default: {DEFAULT_PORT}, or the next one that is free.",
        json_schema_extra=_of(expected="a port from 1 to 65535"),
    )
    max_instances: int = Field(
        500,
        ge=1,
        alias="NODEWRIGHT_MAX_INSTANCES",
        description="Guard: how many instances may be alive, or on their way, at once.",
        json_schema_extra=_of(expected="a whole number, at least 1"),
    )
    max_hourly_usd: Decimal = Field(
        Decimal(50),
        gt=0,
        le=1_000_000,
        alias="NODEWRIGHT_MAX_HOURLY_USD",
        description="Guard: what all instances together may cost per hour, in US dollars.",
        json_schema_extra=_of(expected="an amount of US dollars above 0, such as 50 or 2.50"),
    )
    max_count: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        alias="NODEWRIGHT_MAX_COUNT",
        description="Guard: how many instances one fleet may have.",
        json_schema_extra=_of(expected="a whole number from 1 to 1000000"),
    )
    confirm_hourly_usd: Decimal = Field(
        Decimal(1),
        ge=0,
        le=1_000_000,
        alias="NODEWRIGHT_CONFIRM_HOURLY_USD",
        description="For clients: on a terminal, `submit` shows the plan and asks first when a fleet would cost more "
        "than this per hour, in US dollars. `--yes` answers it.",
        json_schema_extra=_of(expected="an amount of US dollars, such as 1 or 0.50"),
    )
    requests_per_second: float = Field(
        100,
        ge=0,
        le=1_000_000,
        alias="NODEWRIGHT_REQUESTS_PER_SECOND",
        description="How many HTTP requests a second one API key may send to one service process, with bursts of twice "
        "as many; beyond that it is answered 429. `0`: any number.",
        json_schema_extra=_of(expected="a number from 0 to 1000000"),
    )
    create_limit: Annotated[str, AfterValidator(_limit)] = Field(
        "20/15",
        alias="NODEWRIGHT_CREATE_LIMIT",
        description="The API's limit on creates as CALLS/SECONDS, until replies teach a better one; several "
        "at once are separated by commas, and `0` means none.",
        json_schema_extra=_of(expected="CALLS/SECONDS such as 20/15, several with commas, or 0"),
    )
    grace_seconds: float = Field(
        60,
        ge=1,
        le=3600,
        alias="NODEWRIGHT_GRACE_SECONDS",
        description="How long an instance must be absent after a create of unknown outcome before it is sent "
        "again.",
        json_schema_extra=_of(expected="seconds from 1 to 3600"),
    )
    lease_seconds: float = Field(
        60,
        ge=10,
        le=3600,
        alias="NODEWRIGHT_LEASE_SECONDS",
        description="How long a worker owns a job that it is creating: longer than all timeouts of one call.",
        json_schema_extra=_of(expected="seconds from 10 to 3600"),
    )
    threads: int = Field(
        32,
        ge=1,
        le=1000,
        alias="NODEWRIGHT_THREADS",
        description="Threads per worker process; at least as many as the limit allows creates at once.",
        json_schema_extra=_of(expected="a whole number from 1 to 1000"),
    )
    webhook_allow_private: Annotated[str, AfterValidator(_reach)] | None = Field(
        None,
        alias="NODEWRIGHT_WEBHOOK_ALLOW_PRIVATE",
        description="How far inwards webhooks may be sent: `no`: only to addresses that the world can reach; "
        "`loopback`: also to this machine, there without TLS too; `yes`: also to private networks. Never to link-local "
        "addresses. Default: `no`; for `up` on loopback: `loopback`.",
        json_schema_extra=_of(expected="one of no, loopback, yes"),
    )
    keep: Annotated[str, AfterValidator(_keep)] | None = Field(
        None,
        alias="NODEWRIGHT_KEEP",
        description="How long fleets are kept after the last change of any of their jobs: those that ended longer ago, "
        "and own no instance, are deleted. Default: for ever.",
        json_schema_extra=_of(expected="a duration of at least a day, such as 90d"),
    )
    archive: Path | None = Field(
        None,
        alias="NODEWRIGHT_ARCHIVE",
        description="The folder that a fleet is written to before it is deleted, one file each. Default: nowhere.",
        json_schema_extra=_of(expected="a folder that the workers may write to"),
    )
    log_level: Annotated[str, AfterValidator(_level)] = Field(
        "info",
        alias="NODEWRIGHT_LOG_LEVEL",
        description="How much is logged.",
        json_schema_extra=_of(expected="one of debug, info, warning, error, critical"),
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what :meth:`load` hands in and nothing else, so that tests need no real environment."""
        return (init_settings,)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from ``environ``, by default the process's own.

        Raises:
            SettingsError: one sentence for each setting that is wrong.

        """
        given, faults = _gather(os.environ if environ is None else environ)
        try:
            settings = cls(**given)
        except ValidationError as error:
            raise SettingsError(*faults, *_sentences(error, given)) from None
        if faults:
            raise SettingsError(*faults)
        return settings

    @property
    def create_limits(self) -> tuple[CreateLimit, ...]:
        """The buckets of ``NODEWRIGHT_CREATE_LIMIT``; none means no limit."""
        return parse_create_limit(self.create_limit)

    @property
    def max_hourly_microusd(self) -> int:
        """The spend guard in millionths of a dollar, as the tables count."""
        return int(self.max_hourly_usd * 1_000_000)

    @property
    def keep_for(self) -> timedelta | None:
        """``NODEWRIGHT_KEEP``; None: for ever."""
        return None if self.keep is None else timedelta(seconds=_seconds(self.keep))

    @property
    def archive_folder(self) -> Path | None:
        """``NODEWRIGHT_ARCHIVE``, absolute; None: there is none."""
        return None if self.archive is None else self.archive.expanduser().absolute()

    @property
    def home_folder(self) -> Path:
        """``NODEWRIGHT_HOME``, absolute."""
        return self.home.expanduser().absolute()

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the environment of a child that is to have these settings, with ``changes``, and no others."""
        names = {info.name for info in describe_settings()}
        inherited = {
            name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in names
        }
        return {**inherited, **self._given(), **changes}

    def _given(self) -> dict[str, str]:
        fields = {name: type(self).model_fields[name].alias or "" for name in self.model_fields_set}
        values = {alias: getattr(self, name) for name, alias in fields.items()}
        return {alias: _plain(value) for alias, value in values.items() if value is not None}


@dataclass(frozen=True)
class SettingInfo:
    """What the reference says about one setting."""

    name: str
    default: str | None
    expected: str
    description: str
    secret: bool
    file: bool
    """Whether ``NAME_FILE`` works too."""


def describe_settings() -> list[SettingInfo]:
    """Return every setting, for the reference and for the test that holds the reference to it."""
    return [_describe(field) for field in Settings.model_fields.values()]


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _describe(field: FieldInfo) -> SettingInfo:
    extra = _extra(field)
    default = None if field.default is None else str(field.default)
    return SettingInfo(
        name=field.alias or "",
        default=default,
        expected=extra["expected"],
        description=field.description or "",
        secret=extra["secret"],
        file=extra["file"],
    )


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError(f"the setting {field.alias} says nothing about itself")
    return extra


def _gather(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values that are set, by name, and what is wrong with their files. Empty means unset."""
    given: dict[str, Any] = {}
    faults: list[str] = []
    for info in describe_settings():
        value, path = environ.get(info.name, ""), environ.get(f"{info.name}_FILE", "") if info.file else ""
        if value and path:
            faults.append(f"{info.name} and {info.name}_FILE are both set; keep one of them")
        elif path:
            value = "".join(_content(info.name, path, faults))
        if value:
            given[info.name] = value
    return given, faults


def _content(name: str, path: str, faults: list[str]) -> Iterator[str]:
    try:
        yield Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not text"
        faults.append(f"{name}_FILE: expected a file that can be read, got {path!r} ({words})")


def _sentences(error: ValidationError, given: Mapping[str, Any]) -> list[str]:
    infos = {info.name: info for info in describe_settings()}
    names = dict.fromkeys(str(one["loc"][0]) for one in error.errors(include_url=False, include_input=False))
    return [_sentence(infos[name], given.get(name)) for name in names]


def _sentence(info: SettingInfo, value: object) -> str:
    got = "something else (not shown: it is a secret)" if info.secret else repr(value)
    return f"{info.name}: expected {info.expected}, got {got}"
