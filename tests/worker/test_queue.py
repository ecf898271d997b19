"""The app, its tasks and its messages on a real Valkey. The worker runs in a thread, by Celery's own test helper."""

import json
import logging
import threading
from contextlib import contextmanager

import pytest
import redis
from celery import signals
from celery.contrib.testing.worker import start_worker
from celery.worker.control import Panel
from sqlalchemy.exc import OperationalError

from jobs.fleets import Guards
from jobs.messages import KEPT
from jobs.records import fleets, jobs, refused_messages
from jobs.service import FleetRefused, NotFound
from tests.support.fleets import GROUP, catalog, make_service
from worker.app import (
    CREATE_TASK,
    QUESTIONS,
    SUBMIT_TASK,
    WAKE_TASK,
    WAKE_UPS,
    Notifier,
    Publisher,
    _add_tasks,
    _Assembly,
    _leave_logging_alone,
    _NoBodies,
    accept_document,
    answer_questions_only,
    build_app,
    connections,
)
from worker.config import WorkerConfig

FLEET = "01890000-0000-7000-8000-0000000000aa"
SECRET = "aComplexP@ssw0rd-of-mine"


PASSWORD = "the-brokers-password"


@pytest.fixture
def app(redis_url, broker):
    """The app on a real Valkey, which asks for a password."""
    broker.execute_command("ACL SETUSER", "worker", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    app = build_app(redis_url.replace("redis://", f"redis://worker:{PASSWORD}@"))
    yield app
    app.close()


@pytest.fixture
def broker(redis_url):
    """A client of that Valkey."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def said(lines):
    """Log lines, and a way to wait for one."""
    lines.came = threading.Condition()
    return lines


@pytest.fixture
def consume(app, rig, said):
    """Runs a worker on the app for the length of a block."""

    @contextmanager
    def consuming():
        class Woken:
            """Counts wake-ups."""

            def __init__(self):
                self.count = 0

            def wake(self):
                self.count += 1

        service = make_service(rig.database, vault=rig.vault, catalogs=lambda _: catalog())
        parts = _Assembly(rig.engine, Woken(), service, rig.database, rig.client, None, said)
        _add_tasks(app, parts)
        signals.setup_logging.connect(_leave_logging_alone)
        options = {"perform_ping_check": False, "without_heartbeat": False}
        with start_worker(app, pool="threads", concurrency=4, **options):
            yield parts

    return consuming


def until(condition, seconds=15.0):
    """Wait for the first true value of a condition."""
    tick = threading.Event()
    for _ in range(round(seconds / 0.02)):
        if value := condition():
            return value
        tick.wait(0.02)
    raise AssertionError("it never came")


def document(**changes):
    """Return a fleet's document as another service sends it."""
    return {"fleet_id": FLEET, "name": "by-celery", "groups": [{**GROUP, "count": 2}], **changes}


def dumped(broker):
    """Return everything that the broker holds, as bytes."""
    found = []
    for key in broker.scan_iter():
        kind = broker.type(key)
        value = {
            b"list": lambda key=key: broker.lrange(key, 0, -1),
            b"hash": lambda key=key: broker.hgetall(key).items(),
            b"set": lambda key=key: broker.smembers(key),
            b"zset": lambda key=key: broker.zrange(key, 0, -1),
            b"string": lambda key=key: [broker.get(key)],
        }[kind]()
        found.append(repr((key, list(value))))
    return "\n".join(found)


def rows(rig, table):
    """Return every row of a table."""
    with rig.database.read() as tx:
        return tx.execute(table.select()).all()


def test_a_fleet_by_name_twice_is_one_fleet(app, rig, consume, said):
    """`nodewright.submit`, sent by name with a document and a chosen fleet id, makes one fleet, however often."""
    with consume() as parts:
        for _ in range(3):
            app.send_task(SUBMIT_TASK, args=[document()])
        until(lambda: len(said) == 3)
        assert parts.loop.count == 0, "the service has its own way to wake"
    assert [row.id for row in rows(rig, fleets)] == [FLEET]
    assert len(rows(rig, jobs)) == 2
    assert sorted(line[2]["replayed"] for line in said) == [False, True, True]


MALFORMED = {
    "no document": "web",
    "nothing": None,
    "a list": [1, 2],
    "no fleet id": {"name": "web", "groups": [{**GROUP, "count": 1}]},
    "an id that is none": document(fleet_id="not-a-uuid"),
    "an unknown key": document(colour="red"),
    "no groups": document(groups=[]),
    "a count of zero": document(groups=[{**GROUP, "count": 0}]),
    "a password": document(groups=[{**GROUP, "count": 1, "root_pass": SECRET}]),
    "user data": document(groups=[{**GROUP, "count": 1, "user_data": SECRET}]),
    "over the guard": document(groups=[{**GROUP, "count": 2}]),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
def test_a_message_that_cannot_be_accepted(rig, lines, message):
    """A wrong message is refused with a recorded reason, nothing is stored, no secret is told, and nothing crashes."""
    service = make_service(rig.database, vault=rig.vault, guards=Guards(max_instances=1))
    accept_document(service, message, lines)
    ((level, words, facts),) = lines
    assert (level, words) == ("warning", "a submitted fleet was refused")
    assert facts["reason"]
    assert SECRET not in str(lines)
    assert rows(rig, fleets) == []
    assert service.refused_messages() == 1
    (kept,) = rows(rig, refused_messages)
    assert kept.reason == facts["reason"]


def test_who_asks_for_a_refused_fleet_is_told_why(rig, lines):
    """The sender looks for the id that it chose, and finds the reason; once it is accepted, the fleet."""
    service = make_service(rig.database, vault=rig.vault)
    accept_document(service, document(colour="red"), lines)
    with pytest.raises(FleetRefused, match="colour: unknown key"):
        service.fleet(FLEET, "default")
    with pytest.raises(NotFound) as caught:
        service.fleet(FLEET, "another")
    assert type(caught.value) is NotFound
    accept_document(service, document(), lines)
    assert service.fleet(FLEET, "default").id == FLEET


def test_old_refusals_are_forgotten_and_counted(rig):
    """Only the last refusals are kept, whatever their texts hold; the count goes on."""
    service = make_service(rig.database)
    for number in range(KEPT + 5):
        service.refuse_message(FLEET if number else "no id", "why \x00\ud800" * 1000)
    assert len(rows(rig, refused_messages)) == KEPT
    assert service.refused_messages() == KEPT + 5


def test_wrong_messages_do_not_come_back(app, rig, broker, consume, said, caplog):
    """After any number of wrong messages the worker still works, and the broker holds none of them."""
    logging.getLogger("celery.worker.consumer.consumer").addFilter(_NoBodies())
    with consume(), caplog.at_level("WARNING"):
        app.send_task("nodewright.no-such-task", args=[{"root_pass": SECRET}])
        app.send_task(SUBMIT_TASK, args=[])
        app.send_task(SUBMIT_TASK, args=["x"], kwargs={"more": SECRET})
        app.send_task(SUBMIT_TASK, args=[document(name=7)])
        app.send_task(CREATE_TASK, args=[FLEET])
        app.send_task(CREATE_TASK, args=[{"not": "an id"}])
        with app.producer_pool.acquire() as producer:
            for kind in ("application/json", "application/x-python-serialize", "text/plain"):
                raw = {"content_type": kind, "content_encoding": "utf-8", "headers": {"argsrepr": SECRET}}
                producer.publish(f"garbage {SECRET}", serializer=None, routing_key="nodewright", **raw)
        app.send_task(SUBMIT_TASK, args=[document()])
        until(lambda: rows(rig, fleets))
        until(lambda: not broker.exists("nodewright") and not broker.hlen("unacked"))
    assert [row.id for row in rows(rig, fleets)] == [FLEET]
    assert SECRET not in str(said)
    assert SECRET not in "\n".join(record.getMessage() for record in caplog.records)


def test_a_create_by_its_id(app, rig, consume, said):
    """A wake-up carries a job's id; the worker does the rest, logs it with the id, and wakes the loop."""
    job_id = rig.job()
    with consume() as parts:
        Publisher(app).jobs([job_id])
        until(lambda: rig.count("booting") == 1)
        until(lambda: parts.loop.count == 1)
        app.send_task(WAKE_TASK)
        until(lambda: parts.loop.count == 2)
    assert ("info", "create", {"job": job_id, "ended": "booting"}) in said


def test_a_wake_up_is_not_kept(app, rig, broker, consume, said):
    """A wake-up that was read is gone from the broker: its row's lease makes up for it. A submitted fleet is kept."""
    job_id = rig.job()
    held = []
    rig.engine.create = lambda _job_id: held.append(kept(broker)) or "seen"
    with consume() as parts:
        accept = parts.service.accept
        parts.service.accept = lambda *given, **more: held.append(kept(broker)) or accept(*given, **more)
        Publisher(app).jobs([job_id])
        until(lambda: len(said) == 1)
        app.send_task(SUBMIT_TASK, args=[document()])
        until(lambda: len(said) == 2)
        until(lambda: kept(broker) == [])
    (of_wake_up, of_fleet) = held
    assert of_wake_up == []
    assert len(of_fleet) == 1
    assert FLEET.encode() in of_fleet[0]


def kept(broker):
    """Return the messages that were read and are not acknowledged."""
    return broker.hvals("unacked")


def test_a_create_that_breaks_off(app, rig, consume, said):
    """A create that meets an error is logged with the job's id and the error's kind, and the worker goes on."""
    job_id = rig.job()

    def fail(_job_id):
        raise RuntimeError(SECRET)

    rig.engine.create = fail
    with consume():
        Publisher(app).jobs([job_id])
        until(lambda: len(said) == 1)
    assert said == [("warning", "a create broke off", {"job": job_id, "error": "RuntimeError"})]


def test_a_submit_waits_for_the_database(app, rig, consume, said):
    """A fleet that comes by Celery while the database is away is not lost: the broker hands it out again."""
    outages = []

    with consume() as parts:
        accept = parts.service.accept

        def accept_later(*arguments, **options):
            if not outages:
                outages.append(1)
                raise OperationalError("SELECT 1", {}, Exception("starting up"))
            return accept(*arguments, **options)

        parts.service.accept = accept_later
        app.send_task(SUBMIT_TASK, args=[document()])
        until(lambda: rows(rig, fleets))
    assert [line[1] for line in said] == [
        "a submitted fleet waits for the database",
        "a submitted fleet was accepted",
    ]


def test_messages_carry_ids_only(app, rig, broker):
    """What lies in the broker while no worker runs is ids: no label, no type, no password, no user data."""
    rig.submit({"count": 3, "root_pass": SECRET, "user_data": "#cloud-config " + SECRET}, name="secretive")
    Publisher(app).jobs(rig.admit())
    Notifier(app.conf.broker_url)()
    held = dumped(broker)
    messages = [json.loads(one) for one in broker.lrange(WAKE_UPS, 0, -1)]
    assert len(messages) == 4
    assert held.count(CREATE_TASK) >= 3
    for word in (SECRET, "secretive", "g6-nanode-1", "cloud-config", "simulated-token"):
        assert word not in held


# Flower --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def questions_only():
    """As a worker's process is set up; afterwards Celery is as it was."""
    before = dict(Panel.data)
    answer_questions_only()
    yield
    Panel.data.update(before)


def test_flower_is_answered(app, consume, rig, questions_only):
    """Flower sees workers and tasks: what it asks by remote control is answered, and it gets the events that it wants.
    No answer holds the broker's password or anything else that is secret.
    """
    told = []
    with consume(), app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": told.append})
        watching = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": False})
        watching.start()
        try:
            inspect = app.control.inspect(timeout=5, limit=1)
            (name,) = inspect.ping()
            app.control.broadcast("enable_events", reply=True, timeout=5, limit=1)
            until(lambda: told)  # else the task's own events may come before anybody listens
            app.send_task(WAKE_TASK, queue=WAKE_UPS)
            until(lambda: any(event["type"] == "task-succeeded" for event in told))
            answers = {question: getattr(inspect, question)() for question in sorted(QUESTIONS - {"ping"})}
        finally:
            receiver.should_stop = True
            watching.join()
    assert all(answer[name] is not None for answer in answers.values())
    assert WAKE_TASK in answers["registered"][name]
    assert {queue["name"] for queue in answers["active_queues"][name]} == {"nodewright", WAKE_UPS}
    kinds = {event["type"] for event in told}
    assert {"task-received", "task-started", "task-succeeded"} <= kinds
    assert PASSWORD not in json.dumps([answers, told], default=str)


@pytest.mark.parametrize(
    "command",
    [
        ("shutdown", {}),
        ("rate_limit", {"task_name": WAKE_TASK, "rate_limit": "1/h"}),
        ("pool_shrink", {"n": 3}),
    ],
    ids=lambda command: command[0],
)
def test_nobody_can_command_a_worker(app, consume, questions_only, command):
    """Whoever may write to the broker can neither shut a worker down nor slow it: the worker goes on as before."""
    name, arguments = command
    with consume() as parts:
        until(lambda: app.control.inspect(timeout=1, limit=1).ping())
        (answer,) = app.control.broadcast(name, arguments=arguments, reply=True, timeout=5, limit=1)
        assert [*answer.values()] == [{"error": f"KeyError('{name}')"}]
        for _ in range(3):
            app.send_task(WAKE_TASK, queue=WAKE_UPS)
        until(lambda: parts.loop.count == 3)


def test_without_a_broker_nothing_fails(lines):
    """A wake-up that cannot be sent is logged, and whoever wanted to send it goes on."""
    Notifier("redis://127.0.0.1:1/0", lines)()
    assert [line[:2] for line in lines] == [("warning", "a wake-up could not be sent")]


def test_the_apps_settings(app):
    """Messages are JSON, acknowledged late, without results; tasks are told of to who asks for it."""
    settings = app.conf
    assert settings.accept_content == ["json"]
    assert (settings.task_acks_late, settings.task_ignore_result) == (True, True)
    assert (settings.worker_enable_remote_control, settings.worker_send_task_events) == (True, False)
    assert settings.broker_transport_options["visibility_timeout"] == 120


def test_how_many_connections():
    """Four workers and a service fit into the 100 connections that PostgreSQL takes by default."""
    assert 4 * connections(WorkerConfig("", "", "", "").threads) + 10 <= 97
    assert connections(1) < connections(1000)


def test_complaints_about_messages_hold_no_body():
    """What Celery says of a message that it cannot read is kept without the message."""
    words = "Received unregistered task of type %s.\nThe full contents of the message body was:\n%s"
    record = logging.LogRecord("celery", logging.ERROR, "", 0, words, ("x", SECRET), None)
    assert _NoBodies().filter(record)
    assert SECRET not in record.getMessage()
    assert record.getMessage().startswith("Received unregistered task")
    other = logging.LogRecord("celery", logging.ERROR, "", 0, "Cannot connect to %s", ("redis",), None)
    assert _NoBodies().filter(other)
    assert other.getMessage() == "Cannot connect to redis"
