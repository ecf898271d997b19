"""Celery, fenced into one file: the app, its tasks, the bootstep that runs the loop, and the worker's process.

A task is a wake-up that carries an id. Time lives in the rows, so there is no countdown, no eta, no retry and no
result; see docs/explanation for what was measured.
"""

import gc
import logging
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Final

import structlog
from celery import Celery, bootsteps, signals
from celery.exceptions import Reject, SecurityWarning
from celery.utils.nodenames import host_format
from kombu.entity import Queue
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api_client import LinodeClient, Timeouts
from jobs.database import Database
from jobs.fleets import Guards
from jobs.records import installation
from jobs.requests import InvalidRequest, parse_request
from jobs.service import MESSAGES_OF, Service, ServiceError
from jobs.vault import Vault
from worker.cache import CatalogCache, connect
from worker.config import WorkerConfig
from worker.crew import Crew, Own
from worker.deliver import SENDERS, Deliver
from worker.egress import Egress
from worker.engine import Engine, Identity, Parts
from worker.expire import Expire
from worker.lookup import Lookup
from worker.loop import Chore, Loop
from worker.reconcile import Reconcile
from worker.refresh import Refresh
from worker.removal import AT_ONCE, Removal
from worker.retire import Retire
from worker.sweep import Intake, Sweep
from worker.watch import Watch

QUEUE: Final = "nodewright"
WAKE_UPS: Final = "nodewright.wake-ups"
"""Consumed without acknowledgement: a wake-up that is lost with its worker is made up for by its row's lease, within
seconds, and the broker's own redelivery would come two minutes later. An acknowledged message costs the consumer's one
thread two round trips more."""
CREATE_TASK: Final = "nodewright.create"
WAKE_TASK: Final = "nodewright.wake"
SUBMIT_TASK: Final = "nodewright.submit"
Log = Any
"""A structlog logger: it has no one type."""
PUBLISH_SECONDS: Final = 2
CHORE_THREADS: Final = 6
_LONGEST_ID: Final = 64
_OUTAGE_SECONDS: Final = 1.0
"""For so long a submitted fleet that met no database waits before the broker hands it out again."""
_CREATES_AT_ONCE: Final = 12
"""So many creates may be in a transaction at the same moment; the others are at the API, or wait their turn."""
TIMEOUTS: Final = Timeouts(connect=3.0, read=20.0, write=5.0, pool=3.0)
"""One send takes at most their total; the lease must be longer (a test holds it)."""


def build_app(broker_url: str, *, patience: int = 10) -> Celery:
    """Return a Celery app without tasks: enough to publish with.

    ``patience``: seconds that one answer of the broker may take. A consumer's are long polls; a wake-up is best effort,
    and whoever sends it must not stand still for a broker that hangs.
    """
    app = Celery("nodewright", broker=broker_url, set_as_current=False, autofinalize=True)
    if broker_url.startswith(("redis:", "rediss:")):
        app.conf.broker_transport = "worker.transport:Transport"
    on_redis = broker_url.startswith(("redis", "rediss", "socket", "redis+socket"))
    # Elsewhere a consumer that acknowledges nothing is sent everything at once: one worker would get all there is.
    app.conf.update(
        task_default_queue=QUEUE,
        task_queues=[Queue(QUEUE), Queue(WAKE_UPS, no_ack=on_redis)],
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=on_redis,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=20,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": patience,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
    )
    return app


class Publisher:
    """Sends wake-ups, best effort: a row whose wake-up is lost is found by its lease."""

    def __init__(self, app: Celery, log: Log | None = None) -> None:
        self._app = app
        self._log: Any = structlog.get_logger("worker.publish") if log is None else log

    def jobs(self, job_ids: Sequence[str]) -> None:
        """Send one wake-up per job."""
        self._send([(CREATE_TASK, (job_id,)) for job_id in job_ids])

    def __call__(self) -> None:
        """Tell some worker that there is something to admit."""
        self._send([(WAKE_TASK, ())])

    def _send(self, messages: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        try:
            with self._app.producer_pool.acquire(block=True, timeout=2) as producer, producer.batch():
                for name, arguments in messages:
                    self._app.send_task(
                        name, args=arguments, producer=producer, queue=WAKE_UPS, ignore_result=True
                    )
        except Exception as error:  # noqa: BLE001 - kombu raises whatever its transport raises
            self._log.warning(
                "a wake-up could not be sent", error=type(error).__name__, messages=len(messages)
            )


class Notifier(Publisher):
    """A wake-up sender for processes that are no workers, as the HTTP service."""

    def __init__(self, broker_url: str, log: Log | None = None) -> None:
        super().__init__(build_app(broker_url, patience=PUBLISH_SECONDS), log)


@dataclass(frozen=True)
class _Assembly:
    crew: Crew
    loop: Loop
    service: Service
    database: Database
    clients: list[LinodeClient]
    executor: ThreadPoolExecutor
    log: Log
    deliver: Deliver | None = None


def _assemble(config: WorkerConfig, log: Log) -> _Assembly:
    database = Database(config.database_url, pool_size=connections(config.threads))
    cache = CatalogCache(database, connect(config.redis_url), monotonic=time.monotonic)
    vault = Vault(config.encryption_keys) if config.encryption_keys else None
    publisher = Notifier(config.broker_url, log)
    installation_id = _installation(database)
    clients: list[LinodeClient] = []

    def make(account_id: str, token_id: str, secret: str) -> Engine:
        client = LinodeClient(secret, base_url=config.api_url, timeouts=TIMEOUTS)
        clients.append(client)
        parts = Parts(
            database=database,
            client=client,
            vault=vault,
            catalogs=cache,
            publish=publisher.jobs,
            monotonic=time.monotonic,
            dice=SystemRandom(),
        )
        identity = Identity(installation_id, account_id, token_id, config.name)
        return Engine(parts, identity, config.pace)

    deliver = Deliver(
        database,
        vault,
        Egress(config.reach).post,
        ThreadPoolExecutor(SENDERS, thread_name_prefix="deliver"),
        dice=SystemRandom(),
        log=log,
    )

    retire = Retire(database, config.keep, config.archive, log=log)

    def duties() -> list[Chore]:
        theirs = [one for engine in crew.of_accounts for one in build_chores(engine, cache, config.guards)]
        return [*theirs, deliver, retire]

    own = Own(config.account_id, config.token) if config.token else None
    crew = Crew(database, vault, own, make, limits=config.limits, log=log)
    crew.look()
    if not crew.engines:
        raise ValueError("a worker needs a token: its own, or one that the database keeps")
    executor = ThreadPoolExecutor(CHORE_THREADS, thread_name_prefix="chore")
    loop = Loop(
        crew.engines[0],
        duties(),
        executor,
        limits=config.limits,
        log=log,
        look=Changes(crew, duties),
    )
    service = Service(
        database,
        vault=vault,
        guards=config.guards,
        catalogs=cache,
        notify=loop.wake,
        dice=SystemRandom(),
    )
    return _Assembly(crew, loop, service, database, clients, executor, log, deliver)


class Changes:
    """Tells the loop whom to serve: at first, and whenever a token came or went."""

    def __init__(self, crew: Crew, duties: Callable[[], Sequence[Chore]]) -> None:
        self._crew = crew
        self._duties = duties
        self._told: tuple[Sequence[Engine], Sequence[Engine]] = ((), ())

    def __call__(self) -> tuple[Sequence[Engine], Sequence[Chore]] | None:
        """Return engines and chores where they are others than the last time."""
        self._crew.look()
        present = (self._crew.engines, self._crew.of_accounts)
        if present == self._told:
            return None
        self._told = present
        return present[0], self._duties()


def connections(threads: int) -> int:
    """Return how many database connections a worker needs: a create holds one for two short moments only.

    With the default number of threads four workers and a service stay below the 100 of PostgreSQL's default.
    """
    return min(threads, _CREATES_AT_ONCE) + CHORE_THREADS + 3


def _installation(database: Database) -> str:
    with database.read() as tx:
        found: str = tx.execute(select(installation.c.id)).scalar_one()
    return found


def build_chores(engine: Engine, cache: CatalogCache, guards: Guards) -> list[Chore]:
    """Return every chore of a worker."""
    return [
        Refresh(engine, cache.offer),
        Watch(engine),
        Lookup(engine),
        Removal(engine, at_once=AT_ONCE),
        Reconcile(engine),
        Sweep(engine),
        Intake(engine, guards),
        Expire(engine),
    ]


def _add_tasks(app: Celery, parts: _Assembly) -> None:
    log = parts.log

    def create(job_id: str) -> None:
        try:
            ended = parts.crew.create(job_id)
        except Exception as error:  # noqa: BLE001 - whatever it was: the row's lease ends, and the sweeper goes on
            log.warning("a create broke off", job=job_id, error=type(error).__name__)
            return
        log.info("create", job=job_id, ended=ended)
        parts.loop.wake()

    def wake() -> None:
        parts.loop.wake()

    def submit(document: object = None, *_: object, **__: object) -> None:
        accept_document(parts.service, document, log)

    for name, body in ((CREATE_TASK, create), (WAKE_TASK, wake), (SUBMIT_TASK, submit)):
        app.task(body, name=name, ignore_result=True, shared=False)


def accept_document(service: Service, document: object, log: Log) -> None:
    """Accept a fleet that another service sent by name: its document, with the fleet id that the sender chose.

    Nobody waits for the answer, so a message that can never be accepted is logged, kept and counted; it does not come
    back, and whoever asks for its fleet is told why.

    Raises:
        Reject: the database is away; the broker keeps the message for the next try.

    """
    fleet_id = ""
    try:
        fleet_id, spec = _split(document)
        submission = service.accept(
            parse_request(spec), fleet_id=fleet_id, tenant=MESSAGES_OF, actor="celery"
        )
    except (InvalidRequest, ServiceError, ValueError) as error:
        _refuse(service, fleet_id, str(error), log)
        return
    except SQLAlchemyError as error:
        log.warning("a submitted fleet waits for the database", fleet=fleet_id, error=type(error).__name__)
        threading.Event().wait(_OUTAGE_SECONDS)
        raise Reject("the database is away", requeue=True) from None
    except Exception as error:  # noqa: BLE001 - a message may hold anything, and its words may hold a secret
        log.warning("a submitted fleet broke off", fleet=fleet_id, error=type(error).__name__)
        _refuse(service, fleet_id, f"the message could not be read ({type(error).__name__})", log)
        return
    log.info("a submitted fleet was accepted", fleet=submission.fleet.id, replayed=submission.replayed)


def _refuse(service: Service, fleet_id: str, reason: str, log: Log) -> None:
    log.warning("a submitted fleet was refused", fleet=fleet_id, reason=reason)
    try:
        service.refuse_message(fleet_id, reason)
    except SQLAlchemyError as error:
        log.warning("a refusal could not be kept", fleet=fleet_id, error=type(error).__name__)


def _split(document: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(document, dict):
        raise ValueError(f"expected a document, got {type(document).__name__}")  # noqa: TRY004 - a message's fault
    spec = {str(key): value for key, value in document.items()}
    return str(spec.pop("fleet_id", ""))[:_LONGEST_ID], spec


def _loop_step(parts: _Assembly) -> type[bootsteps.StartStopStep]:
    class LoopStep(bootsteps.StartStopStep):
        """Runs the loop beside the consumer; stops before the pool does, so that nothing more is admitted."""

        requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

        def __init__(self, parent: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
            super().__init__(parent, **options)
            self._thread = threading.Thread(target=parts.loop.run, name="loop", daemon=True)

        def start(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's own signature
            self._thread.start()

        def stop(self, parent: Any) -> None:  # noqa: ANN401, ARG002 - Celery's own signature
            parts.loop.stop()
            self._thread.join(timeout=5)

    return LoopStep


class _NoBodies(logging.Filter):
    """Takes the bodies out of Celery's complaints about messages: somebody may have put a secret into one."""

    def filter(self, record: logging.LogRecord) -> bool:
        words = str(record.msg)
        if "body" in words:
            record.msg, record.args, record.exc_info = words.partition("%")[0].partition("\n")[0], (), None
        return True


def _leave_logging_alone(**_: object) -> None:
    """Take the place of Celery's own set-up of logging: whoever starts the worker has seen to it."""


def run(config: WorkerConfig, log: Log) -> int:
    """Run a worker until SIGTERM or SIGINT; creates in flight are finished first. Returns the exit code.

    ``log`` gets the worker's own lines. What libraries say goes by :mod:`logging`, as the caller configured it.
    """
    signals.setup_logging.connect(_leave_logging_alone)
    # Celery warns root because messages might be pickles; ours are JSON, and its advice names options that we lack.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_NoBodies())
    app = build_app(config.broker_url)
    parts = _assemble(config, log)
    _add_tasks(app, parts)
    app.steps["worker"].add(_loop_step(parts))
    app.finalize()
    # Not `celery worker`: its command line puts the working folder first on the path, and a foreign `jobs` wins.
    worker = app.Worker(
        hostname=host_format(config.name),
        pool="threads",
        concurrency=config.threads,
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # What the start made never goes: looking through it again and again stops every thread for a moment, and a create
    # that waits for that moment is late for its window's opening.
    gc.collect()
    gc.freeze()
    log.info("worker starts", threads=config.threads, api=config.api_url)
    try:
        worker.start()
    finally:
        parts.loop.stop()
        parts.executor.shutdown(wait=True, cancel_futures=True)
        if parts.deliver is not None:
            parts.deliver.close()
        for client in parts.clients:
            client.close()
        parts.database.close()
        log.info("worker ends", exit_code=int(worker.exitcode or 0))
    return int(worker.exitcode or 0)
