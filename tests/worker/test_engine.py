from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError

from api_client import LinodeClient, Metadata
from jobs import holds, transitions
from jobs.accounts import fingerprint
from jobs.admission import CREATE
from jobs.records import accounts, rate_windows
from jobs.states import State
from jobs.vault import Vault, new_key
from tests.support.fleets import catalog, job_columns, set_job
from worker.app import TIMEOUTS
from worker.config import Pace
from worker.engine import SnoozeError, _Wish

PASSWORD = "aComplexP@ssw0rd-of-mine"


@pytest.fixture
def sent(rig):
    """The bodies of the creates that left, as the API got them."""
    found = []
    create = rig.client.instances.create

    def note(request):
        found.append(request)
        return create(request)

    rig.client.instances.create = note
    return found


def test_from_grant_to_booting(rig, sent):
    """A granted job is claimed, its intent committed, its create sent once, and its answer written down."""
    job_id = rig.job(tags=["mine"])
    assert rig.engine.create(job_id) == "booting"
    (one,) = rig.alive()
    job = rig.row(job_id)
    assert (job.state, job.linode_id, job.sends, job.lease_until) == (State.BOOTING, one.ident, 1, None)
    assert set(one.shown["tags"]) >= {"mine", rig.ours(), f"nw:{job_id}.1"}
    assert rig.events(job_id) == ["validated", "admitted", "sent", "created"]
    assert job_columns(rig.database, job_id)["ipv4"] == one.shown["ipv4"][0]
    assert len(sent) == 1


def test_a_wake_up_that_comes_twice(rig, sent):
    """A job that somebody works on, or that is over, is not anybody else's: the second wake-up does nothing."""
    job_id = rig.job()
    rig.engine.create(job_id)
    assert rig.engine.create(job_id) == "not mine"
    assert rig.engine.create("01890000-0000-7000-8000-000000000001") == "not mine"
    assert len(sent) == 1


def test_a_grant_that_is_too_old(rig, sent):
    """A grant whose window is over goes back unsent, and no attempt is spent."""
    job_id = rig.job()
    rig.clock.advance(60)
    assert rig.engine.create(job_id) == "not mine"
    assert (rig.state(job_id), rig.row(job_id).sends, sent) == (State.QUEUED, 0, [])


def test_a_stale_send_is_held_back(rig, sent):
    """A worker that was frozen between intent and send does not send: by then others may have given the job up."""
    job_id = rig.job()
    with_gap = rig.worker("frozen")
    claim = with_gap._claim

    def claim_and_freeze(*arguments):
        claimed = claim(*arguments)
        rig.clock.advance(rig.engine.pace.stale_send.total_seconds() + 0.1)
        return claimed

    with_gap._claim = claim_and_freeze
    assert with_gap.create(job_id) == "queued"
    assert sent == []
    assert "held back" in rig.row(job_id).error_reason


def test_the_lease_outlives_a_send():
    """A lease is longer than all timeouts of one send together and the time that an intent may wait."""
    pace = Pace()
    longest = TIMEOUTS.connect + TIMEOUTS.read + TIMEOUTS.write + TIMEOUTS.pool
    assert pace.lease > pace.stale_send + timedelta(seconds=longest)


def answered_late(rig, job_id, meanwhile):
    """Create, with something happening between the send and the writing down of its answer."""
    engine = rig.worker("slow")
    send = engine._send

    def send_slowly(*arguments):
        answer = send(*arguments)
        meanwhile()
        return answer

    engine._send = send_slowly
    return engine.create(job_id)


def test_a_late_answer_is_recorded(rig):
    """A 200 that comes after the sweeper gave the job up is proof: the job owns its instance, looked up or not."""
    job_id = rig.job()

    def lapse():
        with rig.database.write() as tx:
            job = transitions.load(tx, job_id)
            why = transitions.Reason("outcome_unknown", "lapsed")
            transitions.unknown(tx, job, transitions.Event.LAPSED, why, actor="sweep", run_after=tx.now)

    assert answered_late(rig, job_id, lapse) == "booting"
    assert rig.detail(job_id, "adopted")["proof"] == "our own 200, late"


def test_a_late_answer_to_a_job_that_went_on(rig):
    """A late answer to a send that others have decided about changes nothing."""
    job_id = rig.job()

    def go_on():
        with rig.database.write() as tx:
            job = transitions.load(tx, job_id)
            why = transitions.Reason("outcome_unknown", "lapsed")
            job = transitions.unknown(tx, job, transitions.Event.LAPSED, why, actor="sweep", run_after=tx.now)
            transitions.absent(tx, job, actor="look-up")

    assert answered_late(rig, job_id, go_on) == "late"
    assert rig.state(job_id) is State.QUEUED


def test_a_cancel_while_creating(rig):
    """A cancel that comes while the create is under way is noted, and the instance goes as soon as it is known."""
    fleet = rig.submit({"count": 1})
    (job_id,) = rig.admit()
    assert answered_late(rig, job_id, lambda: rig.cancel(fleet)) == "deleting"
    assert rig.events(job_id)[-2:] == ["cancel_noted", "created_unwanted"]


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("throttle", "cancelled"),
        ("refuse", "cancelled"),
        ("no_capacity", "failed"),
        ("reset_before", "uncertain"),
    ],
)
def test_a_cancel_while_a_create_fails(rig, action, state):
    """A noted cancel ends a job whose create surely bought nothing; where that is unknown it is looked up first."""
    fleet = rig.submit({"count": 1})
    (job_id,) = rig.admit()
    rig.spoil(action)
    assert answered_late(rig, job_id, lambda: rig.cancel(fleet)) == state


OUTCOMES = [
    ("throttle", "queued", None),
    ("throttle_html", "queued", None),
    ("refuse", "queued", "not_sent"),
    ("unauthorized", "queued", "unauthorized"),
    ("account_limit", "queued", "account_limit"),
    ("plan_limit", "failed", "account_limit"),
    ("vcpu_limit", "failed", "account_limit"),
    ("no_capacity", "failed", "no_capacity"),
    ("label_taken", "uncertain", "label_taken"),
    ("busy", "uncertain", "outcome_unknown"),
    ("request_timeout", "uncertain", "outcome_unknown"),
    ("server_error", "uncertain", "outcome_unknown"),
    ("bad_gateway_html", "uncertain", "outcome_unknown"),
    ("maintenance", "uncertain", "outcome_unknown"),
    ("gateway_timeout", "uncertain", "outcome_unknown"),
    ("reset_before", "uncertain", "outcome_unknown"),
    ("reset_after", "uncertain", "outcome_unknown"),
    ("truncate", "uncertain", "outcome_unknown"),
    ("hang", "uncertain", "outcome_unknown"),
    ("no_headers", "booting", None),
    ("absurd_headers", "booting", None),
]


@pytest.mark.parametrize(("action", "state", "code"), OUTCOMES)
def test_what_each_answer_does(rig, action, state, code):
    """Each answer of the API leads to the state, and to the code, that the design names."""
    job_id = rig.job()
    rig.spoil(action)
    assert rig.engine.create(job_id) == state
    assert rig.row(job_id).error_code == code


def test_unknown_is_sticky(rig):
    """After an unknown send no other answer ends the job: a refusal only notes the end, and it is looked up."""
    job_id = rig.uncertain("reset_before")
    with rig.database.write() as tx:
        transitions.absent(tx, transitions.load(tx, job_id), actor="look-up")
    rig.mend()
    rig.spoil("no_capacity")
    rig.clock.advance(25)
    assert rig.admit() == [job_id]
    assert rig.engine.create(job_id) == "uncertain"
    assert (rig.row(job_id).ending, rig.row(job_id).error_code) == ("fail", "no_capacity")
    rig.mend()
    rig.spoil("throttle")
    set_job(rig.database, job_id, state="queued", run_after=None, ending=None)
    rig.clock.advance(40)
    (again,) = rig.admit()
    assert rig.engine.create(again) == "uncertain"


def test_an_unsent_create_backs_off(rig):
    """A create that never left is sent again a little later, without an attempt spent."""
    job_id = rig.job()
    rig.spoil("refuse")
    rig.engine.create(job_id)
    job = rig.row(job_id)
    assert rig.clock.now < job.run_after < rig.clock.at(2)
    assert (job.attempt, job.tries) == (1, 0)


def test_a_paused_account_recovers(rig):
    """A refused token pauses the account; one look now and then finds out whether it is over."""
    first = rig.job()
    rig.spoil("unauthorized")
    rig.engine.create(first)
    assert rig.admit() == []
    rig.clock.advance(25)
    assert rig.admit() == [first]
    rig.mend()
    assert rig.engine.create(first) == "booting"
    with rig.database.read() as tx:
        assert tx.execute(accounts.select()).one().paused_at is None


def test_a_given_password_is_opened(rig, sent):
    """A password that came with the request is unsealed for the create, and neither it nor its form is in the rows."""
    job_id = rig.job(root_pass=PASSWORD)
    group, sealed, _ = rig.group(job_id)
    assert PASSWORD not in str(group)
    assert PASSWORD.encode() not in sealed
    assert rig.engine.create(job_id) == "booting"
    assert sent[0].root_pass.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(sent[0])


def test_given_user_data_is_opened(rig, sent):
    """User data is unsealed for the create too; whether an image takes it is the API's to say."""
    job_id = rig.job(user_data="#cloud-config\nmine: true\n")
    assert "mine" not in str(rig.group(job_id)[0])
    rig.engine.create(job_id)
    assert sent[0].metadata == Metadata.encode(b"#cloud-config\nmine: true\n")
    assert "I2Nsb3Vk" not in repr(sent[0])


def test_without_a_password_each_gets_its_own(rig, sent):
    """With neither password nor key each instance gets a strong password of its own, which is shown to nobody."""
    rig.submit({"count": 2})
    for job_id in rig.admit():
        rig.engine.create(job_id)
    first, second = (request.root_pass.get_secret_value() for request in sent)
    assert first != second
    assert len(first) == 32
    assert first.encode() not in Path(rig.database.url.database).read_bytes()


def test_secrets_that_were_erased(rig, sent):
    """A job whose secrets were erased fails with that word, and nothing is sent."""
    job_id = rig.job(root_pass=PASSWORD)
    with rig.database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE fleets SET sealed = NULL, secrets_erased = 1")
    assert rig.engine.create(job_id) == "not mine"
    assert (rig.state(job_id), rig.row(job_id).error_code, sent) == (State.FAILED, "credentials_erased", [])


@pytest.mark.parametrize("vault", [None, Vault([new_key()])], ids=["no key", "another key"])
def test_secrets_that_cannot_be_read(rig, sent, vault):
    """A worker without the key that sealed the secrets fails the job with that word, and sends nothing."""
    job_id = rig.job(root_pass=PASSWORD)
    assert rig.worker("keyless", vault=vault).create(job_id) == "not mine"
    assert (rig.row(job_id).error_code, sent) == ("credentials_erased", [])


def test_what_a_newer_catalog_forbids(rig, sent):
    """A job that turned invalid while it waited fails alone, before its create."""
    job_id = rig.job()
    rig.catalog = catalog("v2", regions=[{"id": "eu-west", "capabilities": ["Linodes"]}])
    assert rig.engine.create(job_id) == "not mine"
    assert (rig.row(job_id).error_code, sent) == ("unknown_region", [])


def test_without_a_catalog_the_api_judges(rig, sent):
    """A worker that has no catalog sends the create all the same."""
    job_id = rig.job()
    assert rig.worker("bare", catalogs=lambda _account: None).create(job_id) == "booting"


def test_a_create_that_cannot_be_written_down(rig):
    """A request that cannot become a body ends its job, and not the worker."""
    job_id = rig.job()

    def unwritable(_request):
        raise ValueError("no JSON")

    rig.client.instances.create = unwritable
    assert rig.engine.create(job_id) == "failed"
    assert rig.row(job_id).error_code == "rejected_by_api"


def test_nothing_more_than_the_window(rig):
    """Of fifty jobs twenty are granted, their creates spend the window, and no call is refused."""
    rig.submit({"count": 50})
    for seconds in (0, 16, 16):
        rig.clock.advance(seconds)
        for job_id in rig.admit():
            rig.engine.create(job_id)
    assert len(rig.alive()) == 50
    assert rig.world.audit.traffic()["refused"] == 0


def test_open_grants_are_bounded(rig):
    """However much the window allows, only so many grants are open at once: wake-ups do not grow old in the broker."""
    rig.world.limits.set("create", [])
    with rig.database.write() as tx:
        tx.execute(update(rate_windows).where(rate_windows.c.route == CREATE).values(allowed=0))
    rig.submit({"count": 120})
    first = rig.admit()
    assert len(first) == 96
    assert rig.admit() == []
    for job_id in first[:47]:
        rig.engine.create(job_id)
    assert rig.admit() == [], (
        "half of them are open still: a pause of milliseconds, and not one job at a time"
    )
    rig.engine.create(first[47])
    assert len(rig.admit()) == 24


def test_a_spent_read_window_is_not_asked(rig):
    """A read that the window does not allow raises when it may be sent, and sends nothing."""
    rig.spoil("throttle", method="GET", route="/images", nth=1)
    with pytest.raises(SnoozeError):
        rig.engine.read_all("GET /images", rig.client.images)
    with pytest.raises(SnoozeError) as snooze:
        rig.engine.read_all("GET /images", rig.client.images)
    assert snooze.value.until > rig.clock.now
    assert rig.calls("GET /images") == 1


def test_a_connection_that_broke_is_no_reason_to_lose_an_answer(rig):
    """When the database was restarted behind a connection the answer is written down by the next one."""
    job_id = rig.job()
    broken = []

    def break_once(connection, _cursor, statement, *_):
        if "UPDATE jobs" in statement and rig.alive() and not broken:
            broken.append(statement)
            raise OperationalError(statement, {}, Exception("gone"), connection_invalidated=True)

    event.listen(rig.database.engine, "before_cursor_execute", break_once)
    assert rig.engine.create(job_id) == "booting"
    assert broken


def test_a_database_error_of_another_kind_is_not_hidden(rig):
    """Any other error of the database goes up; the sweeper finds the row."""
    job_id = rig.job()

    def fail(connection, _cursor, statement, *_):
        if "UPDATE jobs" in statement and rig.alive():
            raise OperationalError(statement, {}, Exception("disk full"))

    event.listen(rig.database.engine, "before_cursor_execute", fail)
    with pytest.raises(OperationalError):
        rig.engine.create(job_id)
    event.remove(rig.database.engine, "before_cursor_execute", fail)
    assert rig.state(job_id) is State.CREATING


def test_a_token_has_a_name_that_reveals_nothing():
    """A token's fingerprint tells tokens apart and holds nothing of them."""
    names = {fingerprint(token) for token in ("one", "two")}
    assert len(names) == 2
    assert not any("one" in name or "two" in name for name in names)
    assert "s3cret" not in repr(LinodeClient("s3cret"))


# Together ------------------------------------------------------------------------------------------------------------


def claim(rig, *job_ids):
    """Claim jobs in one transaction."""
    return rig.engine._claim_all([_Wish(job_id, None, rig.clock.monotonic()) for job_id in job_ids])


def test_several_at_once(rig, sent):
    """Several jobs are claimed in one transaction and written down in another; each has its own facts and timeline."""
    rig.submit({"count": 3})
    job_ids = rig.admit()
    claims = claim(rig, *job_ids)
    assert [claimed.job.id for claimed in claims] == job_ids
    settled = [(claimed, rig.engine._send(claimed.request, claimed.since)) for claimed in claims]
    assert rig.engine._write_all_down(settled) == ["booting"] * 3
    by_label = {one.shown["label"]: one.ident for one in rig.alive()}
    for job_id in job_ids:
        job = rig.row(job_id)
        assert (job.sends, job.version, job.linode_id) == (1, 4, by_label[job.label])
        assert rig.events(job_id) == ["validated", "admitted", "sent", "created"]
        assert rig.detail(job_id, "sent") == {"attempt": 1, "send": 1}
        assert rig.detail(job_id, "created")["linode_id"] == job.linode_id
    assert len(sent) == 3


def test_several_with_one_that_was_cancelled(rig):
    """Of several that succeed together one may be unwanted by now: it goes at once, the others stay."""
    rig.submit({"count": 2})
    wanted, unwanted = rig.admit()
    claims = claim(rig, wanted, unwanted)
    with rig.database.write() as tx:
        transitions.cancel_noted(tx, rig.row(unwanted), actor="person")
    late = [replace(one, job=rig.row(one.job.id)) for one in claims]
    settled = [(claimed, rig.engine._send(claimed.request, claimed.since)) for claimed in late]
    assert rig.engine._write_all_down(settled) == ["booting", "deleting"]


def test_several_with_one_that_moved(rig):
    """Where one of several was moved by somebody else none moves, so that each can be looked at alone."""
    rig.submit({"count": 2})
    one, other = rig.admit()
    claims = claim(rig, one, other)
    settled = [(claimed, rig.engine._send(claimed.request, claimed.since)) for claimed in claims]
    with rig.database.write() as tx:
        transitions.cancel_noted(tx, rig.row(other), actor="person")
    with pytest.raises(transitions.OvertakenError):
        rig.engine._write_all_down(settled)
    assert [rig.state(one), rig.state(other)] == [State.CREATING, State.CREATING]
    assert [rig.engine._settle(*one) for one in settled] == ["booting", "deleting"]


def test_several_with_one_that_came_twice(rig, sent):
    """Two wake-ups for one job that are claimed together claim nothing together: alone the second one is nobody's."""
    job_id = rig.job()
    with pytest.raises(transitions.OvertakenError):
        claim(rig, job_id, job_id)
    assert rig.row(job_id).sends == 0
    (first,), (second,) = claim(rig, job_id), claim(rig, job_id)
    assert (first.job.id, second) == (job_id, None)


def test_several_with_one_that_is_too_late(rig):
    """Of several grants that are claimed together a late one goes back, and the others go on."""
    rig.submit({"count": 2})
    late, early = rig.admit()
    set_job(rig.database, late, send_before=rig.clock.at(-1))
    first, second = claim(rig, late, early)
    assert (first, second.job.id) == (None, early)
    assert (rig.state(late), rig.state(early)) == (State.QUEUED, State.CREATING)


@pytest.mark.parametrize("kind", ["fleet", "account", "everything"])
def test_a_paused_job_is_not_sent(rig, kind):
    """A grant of what was paused since is given back by the worker too, and nothing is sent for it."""
    job_id = rig.job()
    job = rig.row(job_id)
    scopes = {"fleet": holds.of_fleet(job.fleet_id, "web"), "account": holds.of_account(job.account_id)}
    with rig.database.write() as tx:
        assert holds.mark(tx, scopes.get(kind, holds.ALL))
    assert rig.engine.create(job_id) == "not mine"
    assert (rig.state(job_id), rig.row(job_id).sends, rig.alive()) == (State.QUEUED, 0, [])
    assert rig.detail(job_id, "given_back") == {"why": "paused"}
    assert rig.admit() == []
