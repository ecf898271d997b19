"""From settings to a worker: what ``nodewright worker`` runs, and how the service wakes workers up."""

from collections.abc import Callable
from datetime import timedelta

from jobs import accounts
from jobs.admission import Limit
from nodewright.failures import BadInput
from nodewright.logs import make_logger, quiet_libraries
from nodewright.settings import Settings
from nodewright.wiring import Wiring


def run_worker(wiring: Wiring, *, name: str | None) -> int:
    """Run a worker until SIGTERM or SIGINT; return its exit code.

    Raises:
        BadInput: there is no token at all, or no Redis.
        NotReached: the database does not answer.

    """
    from worker import Pace, WorkerConfig, run  # noqa: PLC0415 - Celery is large, and only this command needs it
    from worker.config import default_name  # noqa: PLC0415

    settings = wiring.settings
    with wiring.current_database() as database, database.read() as tx:  # so early: its fault is said clearly
        if settings.token is None and not accounts.stored_tokens(tx):
            raise BadInput(
                "LINODE_TOKEN: a worker needs a token; set it, or give the database one by `nodewright accounts add`"
            )
    config = WorkerConfig(
        database_url=wiring.database_url,
        redis_url=redis_url(settings),
        broker_url=broker_url(settings),
        token="" if settings.token is None else settings.token.get_secret_value(),
        encryption_keys=wiring.encryption_keys(),
        api_url=settings.api_url,
        threads=settings.threads,
        create_limits=create_limits(settings),
        pace=Pace(
            lease=timedelta(seconds=settings.lease_seconds), grace=timedelta(seconds=settings.grace_seconds)
        ),
        guards=wiring.guards,
        reach=wiring.reach,
        keep=settings.keep_for,
        archive=settings.archive_folder,
        name=name or default_name(),
    )
    quiet_libraries()
    return run(config, make_logger(settings.log_level, part="worker", worker=config.name))


def create_limits(settings: Settings) -> tuple[Limit, ...]:
    """Return the limit on creates in the worker's terms; ``0`` calls mean no limit."""
    buckets = tuple(Limit(one.calls, one.seconds) for one in settings.create_limits)
    return buckets or (Limit(0, 1.0),)


def redis_url(settings: Settings) -> str:
    """Return where Redis is.

    Raises:
        BadInput: the settings do not say.

    """
    if settings.redis_url is None:
        raise BadInput(
            "NODEWRIGHT_REDIS_URL: not set; `nodewright up` brings a Valkey of its own, this does not"
        )
    return settings.redis_url.get_secret_value()


def broker_url(settings: Settings) -> str:
    """Return where Celery's broker is: its own setting, else Redis."""
    return settings.broker_url.get_secret_value() if settings.broker_url else redis_url(settings)


def notifier(settings: Settings) -> Callable[[], None]:
    """Return what pokes the workers after a submit. Without a broker they find the rows by themselves, later."""
    from worker import Notifier  # noqa: PLC0415 - as above

    if settings.redis_url is None and settings.broker_url is None:
        return lambda: None
    return Notifier(broker_url(settings))
