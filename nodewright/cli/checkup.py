"""``nodewright doctor``: what Nodewright leans on, looked at one by one."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

import redis
from redis.exceptions import RedisError
from rich.table import Table
from rich.text import Text

from jobs import accounts, schema
from nodewright.cli.errors import sentences
from nodewright.cli.options import connect
from nodewright.cli.output import console, print_json
from nodewright.client import ClientError
from nodewright.credentials import check_token
from nodewright.failures import Failure
from nodewright.settings import Settings
from nodewright.wiring import Wiring, name_of


@dataclass(frozen=True)
class Finding:
    """What one look found."""

    what: str
    ok: bool
    message: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; one fault hides no other."""
    return [*(_look(what, look, settings) for what, look in _LOOKS.items()), *_alarms(settings)]


def _look(what: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(what, ok=True, message=look(settings))
    except (Failure, ClientError) as error:
        return Finding(what, ok=False, message="; ".join(sentences(error)))


def _database(settings: Settings) -> str:
    with Wiring(settings).database() as database:
        if not schema.is_current(database):
            raise Failure(
                f"{name_of(database)} is not at this version; run `nodewright migrate` (`up` does it for you)"
            )
        return f"{name_of(database)} is at this version"


def _broker(settings: Settings) -> str:
    if settings.redis_url is None:
        return "none is set: `up` starts a Valkey of its own"
    try:
        with redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_connect_timeout=5) as client:
            client.ping()
    except (RedisError, ValueError) as error:
        raise Failure(f"NODEWRIGHT_REDIS_URL: no answer ({error})") from None
    return "answers"


def _token(settings: Settings) -> str:
    if settings.token is None and (kept := _tokens_kept(settings)):
        return (
            f"LINODE_TOKEN is not set; the database keeps {kept}, and an alarm names those that are refused"
        )
    verdict = check_token(settings)
    if verdict.fault or verdict.warning:
        raise Failure(verdict.fault or verdict.warning)
    return f"accepted by {settings.api_url}"


def _tokens_kept(settings: Settings) -> int:
    try:
        with Wiring(settings).migrated_database() as database, database.read() as tx:
            return len(accounts.stored_tokens(tx))
    except Failure:
        return 0  # the look at the database says what is wrong


def _service(settings: Settings) -> str:
    with connect(settings) as client:
        client.status()
    return f"answers at {client.url}"


def _alarms(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each alarm that the service raises; whether it answers at all is another look's matter."""
    try:
        with connect(settings) as client:
            alarms = client.status().alarms
    except (Failure, ClientError):
        return
    for alarm in alarms:
        words = f"{alarm.sentence}; {alarm.remedy}" if alarm.remedy else alarm.sentence
        yield Finding("alarm", ok=False, message=words)


_LOOKS: Final[dict[str, Callable[[Settings], str]]] = {
    "database": _database,
    "broker": _broker,
    "token": _token,
    "service": _service,
}


def print_findings(findings: list[Finding], *, json: bool) -> None:
    """Print what was found."""
    if json:
        print_json({"findings": [asdict(finding) for finding in findings]})
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        mark = Text("ok", style="green") if finding.ok else Text("no", style="red")
        table.add_row(mark, finding.what, finding.message)
    console().print(table)
