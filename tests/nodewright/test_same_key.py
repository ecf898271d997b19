"""Many posts at the same moment with one idempotency key."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.fuzz.rig import fuzzable
from tests.support.postgres import running_postgres

POSTS = 50
DOCUMENT = {"name": "web", "count": 3, "type": "g6-nanode-1", "region": "us-east", "image": "linode/debian12"}


def post_at_once(address, key, documents):
    """Post all documents at the same moment under one key; return the answers."""
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "one"}

    def post(document):
        return httpx.post(f"{address}/v1/fleets", json=document, headers=headers, trust_env=False, timeout=60)

    with ThreadPoolExecutor(POSTS) as pool:
        return list(pool.map(post, documents))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def served_on(request, tmp_path):
    """A service on each engine in turn: its address and a key."""
    if request.param == "sqlite":
        with fuzzable(f"sqlite:///{tmp_path / 'jobs.db'}") as (address, key, _):
            yield address, key
        return
    with running_postgres() as server, fuzzable(server.url(server.create())) as (address, key, _):
        yield address, key


def test_fifty_posts_with_one_key_are_one_fleet(served_on):
    """However many posts come at once with one key and one body, there is one fleet and each answer names it."""
    address, key = served_on
    answers = post_at_once(address, key, [DOCUMENT] * POSTS)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["fleet"]["id"] for answer in answers}) == 1
    assert [answer.json()["replayed"] for answer in answers].count(False) == 1


def test_fifty_bodies_under_one_key_are_one_fleet_and_conflicts(served_on):
    """Of different bodies under one key the first one wins, and all others are told so."""
    address, key = served_on
    answers = post_at_once(address, key, [{**DOCUMENT, "name": f"f{number}"} for number in range(POSTS)])
    codes = [answer.status_code for answer in answers]
    assert (codes.count(202), codes.count(409)) == (1, POSTS - 1)
