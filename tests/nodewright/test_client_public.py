import subprocess
import sys

import httpx
import pytest

from nodewright import Client
from nodewright.client import Answered, NotAllowed, NotFound, Refused, ServiceNotReached, Unexpected


def _recorded(*answers):
    """A transport that gives these answers in turn, and the requests that it saw."""
    left, seen = list(answers), []

    def handle(request):
        seen.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.MockTransport(handle), seen


ACCEPTED = {"fleet": {"id": "f", "name": "web", "count": 1, "states": {"queued": 1}}, "new_field": 1}


def test_a_submit_is_sent_again_with_the_same_key():
    """When no answer comes the submit is sent again, with the key of the first try."""
    transport, seen = _recorded(
        httpx.ReadError("reset"), httpx.ConnectError("refused"), httpx.Response(202, json=ACCEPTED)
    )
    pauses = []
    with Client("http://x", "k", transport=transport, pause=pauses.append) as client:
        assert client.submit({"name": "web"}).fleet.id == "f"
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    assert len(seen) == 3
    assert pauses == [0.2, 0.5]


def test_sending_again_is_bounded():
    """A service that never answers ends in ServiceNotReached after four tries."""
    transport, seen = _recorded(*[httpx.ConnectError("refused")] * 9)
    with (
        Client("http://x", "k", transport=transport, pause=lambda _: None) as client,
        pytest.raises(ServiceNotReached, match="http://x"),
    ):
        client.submit({"name": "web"})
    assert len(seen) == 4


def test_a_refusal_is_not_sent_again():
    """A definite no is final."""
    transport, seen = _recorded(
        httpx.Response(422, json={"code": "unknown_type", "detail": "no", "errors": []})
    )
    with Client("http://x", "k", transport=transport) as client, pytest.raises(Refused, match="no"):
        client.submit({"name": "web"})
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(401, json={"code": "unauthenticated", "detail": "key"}), NotAllowed),
        (httpx.Response(404, json={"code": "not_found", "detail": "none"}), NotFound),
        (httpx.Response(404, text="<html>"), Unexpected),
        (httpx.Response(502, text="<html>"), Unexpected),
        (httpx.Response(302, text=""), Unexpected),
    ],
)
def test_errors_are_cut_by_what_to_do_next(answer, kind):
    """Each answer that is no success raises the class that says what to do about it."""
    transport, _ = _recorded(answer)
    with Client("http://x", "k", transport=transport) as client, pytest.raises(Answered) as caught:
        client.fleet("web")
    assert type(caught.value) is kind


def test_names_are_encoded():
    """A name with a slash stays one segment of the path, and a name that walks up is refused."""
    transport, seen = _recorded(httpx.Response(200, json=ACCEPTED))
    with Client("http://x", "k", transport=transport) as client:
        client.fleet("a/b ?")
        with pytest.raises(NotFound):
            client.fleet("..")
    assert seen[0].url.raw_path == b"/v1/fleets/a%2Fb%20%3F"


def test_the_client_against_the_service(served, document):
    """Submit, list, page, show and cancel through the real service."""
    with Client(served.url, served.key) as client:
        fleet = client.submit(document(count=3)).fleet
        assert [job.label for job in client.jobs(fleet="web")] == ["web-0001", "web-0002", "web-0003"]
        assert [job.label for job in client.jobs(fleet="web", limit=2)] == ["web-0001", "web-0002"]
        assert client.job(next(client.jobs()).id).timeline
        assert [one.id for one in client.fleets()] == [fleet.id]
        assert client.cancel(fleet.id).cancelled == 3
        assert client.fleet("web").settled
        assert not client.fleet("web").all_running


def test_no_key_in_the_repr():
    """The client's repr shows where the service is and no key."""
    with Client("http://x", "s3cret") as client:
        assert repr(client) == "Client('http://x')"


def test_it_imports_beside_foreign_packages(tmp_path):
    """`from nodewright import Client` works where the working folder's `jobs` and `worker` are somebody else's."""
    for name in ("jobs", "worker", "api_client", "simulator"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a foreign package was imported')")
    foreign = "{'jobs', 'worker', 'api_client', 'simulator', 'celery', 'sqlalchemy', 'fastapi'}"
    code = (
        f"import sys; from nodewright import AsyncClient, Client; print(sorted({foreign} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
