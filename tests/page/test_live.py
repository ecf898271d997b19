"""Pages that change while somebody looks: what is sent, to whom, how often it is drawn, and when it ends."""

import asyncio
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from jobs import keys
from jobs.records import jobs
from nodewright.page import csrf, live
from nodewright.page.live import CHECK_SECONDS, STALE_SECONDS, Drawing, Live, redrawn
from nodewright.page.shown import Shown
from nodewright.service.app import create_app
from nodewright.service.guards import Streams
from tests.support.fleets import TENANT, add_tenant, submit
from tests.support.listening import Ticks, listening
from tests.support.looks import Looker

HOSTILE = "</script><script>alert('x')</script>\n\ndata: x"


@pytest.fixture
def look(tmp_path):
    """Somebody who looks at the page."""
    looker = Looker(tmp_path)
    yield looker
    looker.database.close()


class Stage:
    """The application, with people who are logged in to it and time that passes step by step."""

    def __init__(self, look, **options):
        self.ending = False
        self.look = look
        self.deps = replace(look.deps, closing=lambda: self.ending)
        self.ticks = Ticks()
        self.app = create_app(self.deps)
        clock = {"monotonic": self.ticks.monotonic, "sleep": self.ticks.sleep}
        self.live = self.app.state.live = Live(self.deps, dice=Random(5), **clock, **options)
        self.dice = Random(6)

    def log_in(self, tenant=TENANT, scopes=keys.SCOPES):
        """Log somebody in; return their session, its cookie and their key's id."""
        key = keys.create_key(self.look.database, tenant=tenant, name="test", dice=self.dice, scopes=scopes)
        key_id = key.rpartition("_")[0]
        token = self.deps.sessions.open(key, key_id)
        return SimpleNamespace(token=token, cookie=f"nodewright-80={token}", key_id=key_id)

    def listen(self, path, who):
        """Let somebody listen to a page."""
        return listening(self.app, f"/live{path}", cookie=who.cookie)

    def show(self, view, path="/counted"):
        """Put one more page on the application."""
        live.install(self.app, {path: view})


class Counted:
    """A page of two parts that counts how often it was drawn."""

    def __init__(self, stage, cost=0.0):
        self.stage, self.cost = stage, cost
        self.drawn = 0
        self.parts = {"fixed": "as ever", "moving": "0"}
        self.error = None

    def __call__(self, deps, asked):
        """Draw the page."""
        self.drawn += 1
        self.stage.ticks.now += self.cost
        if self.error is not None:
            raise self.error
        return Shown("Counted", dict(self.parts))


def run(scene, look, **options):
    """Play a scene on a stage of its own."""
    asyncio.run(scene(Stage(look, **options)))


# What is sent --------------------------------------------------------------------------------------------------------


def test_all_parts_come_first_and_then_those_that_changed(look):
    """A stream begins with each part of the page; afterwards only what differs comes, once it does."""
    submit(look.database, {"count": 3}, name="web")

    async def scene(stage):
        async with stage.listen("/", stage.log_in()) as listener:
            begun = await listener.some(2)
            assert list(begun) == list(look.show("/").parts)
            assert "web" in begun["fleets"]
            await stage.ticks.pass_by()
            look.deps.service.cancel("web", TENANT, actor="test")
            await stage.ticks.pass_by()
            name, html, _ = await listener.next()
            assert name == "fleets"
            assert "cancelled" in html
            assert listener.everything.count("event: part") == 3

    run(scene, look)


def test_the_stream_says_what_it_is(look):
    """The answer is an event stream that nobody keeps, for those who may look, of pages that exist."""

    async def scene(stage):
        who = stage.log_in()
        async with stage.listen("/", who) as listener:
            assert await listener.status == 200
            await listener.some(2)
            assert listener.everything.startswith("retry: ")
        stranger = SimpleNamespace(cookie="nodewright-80=made-up")
        for path, someone, status in (("/", stranger, 401), ("/fleets/none", who, 404), ("/jobs", who, 200)):
            async with stage.listen(path, someone) as listener:
                assert await listener.status == status
        assert stage.live.pages == 0

    run(scene, look)


def test_a_quiet_stream_says_that_it_is_still_there(look):
    """Where nothing changes a comment comes now and then, so that nobody takes the connection for a dead one."""

    async def scene(stage):
        async with stage.listen("/", stage.log_in()) as listener:
            assert await listener.comment() == ": still here\n\n"

    run(scene, look, beat_seconds=0.01)


def test_a_part_that_comes_or_goes_is_sent(look):
    """A part that was not there before says which it follows, and one that is gone is sent empty."""
    first = redrawn(Drawing(), {"a": "1", "c": "3"})
    second = redrawn(first, {"a": "1", "b": "2"})

    sent = {name: (part.html, part.after) for name, part in second.since(first.version).items()}
    assert sent == {"b": ("2", "a"), "c": ("", "b")}
    assert redrawn(second, {"a": "1", "b": "2"}) is second
    assert list(second.since(0)) == ["a", "b", "c"]


def test_markup_in_what_others_wrote_is_text(look):
    """What an API or a person said is shown as they said it, in one message, and none of it is markup."""
    submit(look.database, {"count": 1}, name="web")
    with look.database.write() as tx:
        tx.execute(update(jobs).values(state="failed", error_code="rejected_by_api", error_reason=HOSTILE))

    async def scene(stage):
        async with stage.listen("/", stage.log_in()) as listener:
            begun = await listener.some(2)
            assert "alert" in begun["fleets"]
            assert "<script" not in listener.everything
            assert listener.everything.count("\ndata: ") == 2

    run(scene, look)


# How often it is drawn -----------------------------------------------------------------------------------------------


def test_two_who_see_the_same_cost_one_drawing(look):
    """However many listen, a page is drawn once, and again only when something may have changed or it is old."""

    async def scene(stage):
        page, who = Counted(stage), stage.log_in()
        stage.show(page)
        async with stage.listen("/counted", who) as one, stage.listen("/counted", who) as other:
            await one.some(2)
            await other.some(2)
            await stage.ticks.pass_by()
            assert (page.drawn, stage.live.pages) == (1, 1)
            page.parts["moving"] = "1"
            submit(look.database, name="news")
            await stage.ticks.pass_by()
            assert await one.some(1) == await other.some(1) == {"moving": "1"}
            assert page.drawn == 2
            await stage.ticks.pass_by(STALE_SECONDS)
            assert page.drawn == 3
        assert stage.live.pages == 0

    run(scene, look)


def test_a_dear_page_is_drawn_less_often(look):
    """Drawing takes a fifth of the time at most: what takes a second is not drawn again for five."""

    async def scene(stage):
        page = Counted(stage, cost=1.0)
        stage.show(page)
        async with stage.listen("/counted", stage.log_in()) as listener:
            await listener.some(2)
            for _ in range(4):
                await stage.ticks.pass_by()
                assert page.drawn == 1
            submit(look.database, name="news")
            await stage.ticks.pass_by()
            assert page.drawn == 2

    run(scene, look)


def test_a_slow_reader_holds_nobody_up_and_gets_the_newest(look):
    """Whoever reads slowly misses what is old by then; others get all of it meanwhile."""

    async def scene(stage):
        page, who = Counted(stage), stage.log_in()
        stage.show(page)
        async with stage.listen("/counted", who) as slow, stage.listen("/counted", who) as quick:
            await slow.some(2)
            await quick.some(2)
            slow.hold()
            for number in range(1, 6):
                page.parts["moving"] = str(number)
                submit(look.database, name=f"news{number}")
                await stage.ticks.pass_by()
                assert await quick.some(1) == {"moving": str(number)}
            slow.go_on()
            heard = [await slow.some(1), await slow.some(1)]
            assert heard == [{"moving": "1"}, {"moving": "5"}]

    run(scene, look)


# To whom -------------------------------------------------------------------------------------------------------------


def test_each_gets_their_own_form_token(look):
    """Two sessions share a drawing, and the forms of each carry its own token, never the other's or none."""
    submit(look.database, {"count": 2}, name="web")

    async def scene(stage):
        one, other = stage.log_in(), stage.log_in()
        async with stage.listen("/fleets/web", one) as first, stage.listen("/fleets/web", other) as second:
            shown = len(look.show("/fleets/{ref}", ref="web").parts)
            await first.some(shown)
            await second.some(shown)
            assert stage.live.pages == 1
            stage.deps.service.cancel("web", TENANT, actor="test")
            await stage.ticks.pass_by()
            await first.some(1)
            await second.some(1)
            for listener, mine, theirs in ((first, one, other), (second, other, one)):
                said = listener.everything
                forms = said.count('name=\\"csrf\\"')
                assert forms >= 2
                assert said.count(f'name=\\"csrf\\" value=\\"{csrf.token_of(mine.token)}\\"') == forms
                assert csrf.token_of(theirs.token) not in said
                assert theirs.key_id not in said

    run(scene, look)


def test_a_tenant_sees_its_own(look):
    """Two tenants who look at the same address see what is theirs, drawn apart; so do two with other scopes."""
    add_tenant(look.database, "other")
    submit(look.database, name="ours")
    submit(look.database, name="theirs", tenant="other")

    async def scene(stage):
        mine, other = stage.log_in(), stage.log_in("other", ("read",))
        async with stage.listen("/", mine) as first, stage.listen("/", other) as second:
            ours, theirs = await first.some(2), await second.some(2)
            assert stage.live.pages == 2
        assert "ours" in ours["fleets"]
        assert "theirs" not in ours["fleets"]
        assert "theirs" in theirs["fleets"]
        assert "ours" not in theirs["fleets"]
        async with stage.listen("/fleets/ours", other) as listener:
            assert await listener.status == 404

    run(scene, look)


def test_who_may_do_less_shares_no_drawing(look):
    """A key that may only look gets a page without forms, whoever else looks at it."""
    submit(look.database, name="web")

    async def scene(stage):
        may, may_not = stage.log_in(), stage.log_in(scopes=("read",))
        shown = len(look.show("/fleets/{ref}", ref="web").parts)
        async with stage.listen("/fleets/web", may) as one, stage.listen("/fleets/web", may_not) as other:
            await one.some(shown)
            await other.some(shown)
            assert "<form" in one.everything
            assert "<form" not in other.everything

    run(scene, look)


# When it ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["revoked", "logged out"])
def test_a_session_that_has_ended_ends_its_streams(look, how):
    """A minute after its key was revoked, or it was logged out, a stream ends; the other sessions' go on."""

    async def scene(stage):
        page, gone, stays = Counted(stage), stage.log_in(), stage.log_in()
        stage.show(page)
        async with stage.listen("/counted", gone) as one, stage.listen("/counted", stays) as other:
            await one.some(2)
            await other.some(2)
            if how == "revoked":
                keys.revoke(look.database, gone.key_id)
            else:
                stage.deps.sessions.close(gone.token)
            page.parts["moving"] = "1"
            await stage.ticks.pass_by(CHECK_SECONDS)
            assert await other.some(1) == {"moving": "1"}
            assert await one.next() is None

    run(scene, look)


def test_looking_on_does_not_lengthen_a_session(look):
    """A tab that is left open is no use of a session: it ends when nobody did anything for its whole time."""

    async def scene(stage):
        who = stage.log_in()
        async with stage.listen("/", who) as listener:
            await listener.some(2)
            look.clock.advance(13 * 3600)
            await stage.ticks.pass_by(CHECK_SECONDS)
            assert await listener.next() is None

    run(scene, look)


def test_streams_end_when_the_service_does(look):
    """A service that is about to end ends its streams, so that it need not wait for them."""

    async def scene(stage):
        async with stage.listen("/", stage.log_in()) as listener:
            await listener.some(2)
            await stage.ticks.resting()
            stage.ending = True
            stage.ticks.wake()
            assert await listener.next() is None

    run(scene, look)


def test_a_stream_ends_while_the_database_is_away(look):
    """Without its database a stream ends, and whoever comes next, when it is back, begins anew."""

    async def scene(stage):
        page, who = Counted(stage), stage.log_in()
        stage.show(page)
        async with stage.listen("/counted", who) as listener:
            await listener.some(2)
            await stage.ticks.resting()
            page.error = OperationalError("SELECT", {}, Exception("gone"))
            stage.ticks.wake(STALE_SECONDS)
            assert await listener.next() is None
            page.error = None
            async with stage.listen("/counted", who) as later:
                assert list(await later.some(2)) == ["fixed", "moving"]

    run(scene, look)


def test_streams_are_bounded(look):
    """Beyond so many a key's next one is refused; one that ends, however it does, makes room."""

    async def scene(stage):
        who = stage.log_in()
        async with stage.listen("/", who) as first:
            assert await first.status == 200
            async with stage.listen("/", who) as refused:
                assert await refused.status == 429
            async with stage.listen("/", stage.log_in()) as others:
                assert await others.status == 200
        async with stage.listen("/fleets/none", who) as wrong:
            assert await wrong.status == 404
        async with stage.listen("/", who) as second:
            assert await second.status == 200

    run(scene, look, streams=Streams(4))
