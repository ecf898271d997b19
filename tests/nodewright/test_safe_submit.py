"""A submit whose answer is lost: behind a proxy that forwards the request and then hangs up."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

SPEC = ("--type", "g6-nanode-1", "--region", "us-east", "--image", "linode/debian12")


class _Lossy(BaseHTTPRequestHandler):
    """Forwards every call; the answers to the first few posts never come back."""

    upstream = ""
    losses = 0
    posts = 0

    def do_GET(self):
        self._answer(self._forward())

    def do_POST(self):
        answer = self._forward()
        type(self).posts += 1
        if self.posts <= self.losses:
            self.close_connection = True
            self.connection.close()
            return
        self._answer(answer)

    def _forward(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: self.headers[name] for name in ("authorization", "content-type", "idempotency-key")}
        kept = {name: value for name, value in headers.items() if value}
        return httpx.request(
            self.command, self.upstream + self.path, content=body, headers=kept, trust_env=False
        )

    def _answer(self, answer):
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["content-type"])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def _lossy(site, losses):
    """A proxy before the service that loses so many answers to posts; yields a client's environment."""
    handler = type("Lossy", (_Lossy,), {"upstream": site.url, "losses": losses})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {**site.env, "NODEWRIGHT_URL": f"http://127.0.0.1:{server.server_address[1]}"}, handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("losses", [1, 3])
def test_a_lost_answer_is_one_fleet(served, http, run, losses):
    """The command sends again by itself, and however often the answer is lost there is one fleet."""
    with _lossy(served, losses) as (env, proxy):
        done = run("submit", "--name", "web", "--count", "2", *SPEC, env=env)
    assert done.exit_code == 0, done.stderr
    assert "Accepted fleet web" in done.stdout
    assert "had been accepted before" in done.stdout
    assert proxy.posts == losses + 1
    assert [fleet["count"] for fleet in http.get("/v1/fleets").json()["fleets"]] == [2]


def test_when_no_answer_ever_comes(served, http, run):
    """The command gives up with 3 and tells the key; with that key the same fleet is found."""
    submit = ("submit", "--name", "web", "--count", "2", *SPEC)
    with _lossy(served, 99) as (env, _):
        lost = run(*submit, env=env)
    assert lost.exit_code == 3
    key = lost.stderr.partition("--idempotency-key ")[2].split()[0]
    again = run(*submit, "--idempotency-key", key, env=served.env)
    assert again.exit_code == 0, again.stderr
    assert len(http.get("/v1/fleets").json()["fleets"]) == 1


def test_the_same_key_with_another_body(served, http, run):
    """The key of one fleet does not fetch another: exit code 2, and nothing is stored."""
    submit = ("submit", "--name", "web", *SPEC, "--idempotency-key", "k1")
    assert run(*submit, "--count", "2", env=served.env).exit_code == 0
    other = run(*submit, "--count", "3", env=served.env)
    assert other.exit_code == 2
    assert "was used for another request (idempotency_conflict)" in other.stderr
    assert [fleet["count"] for fleet in http.get("/v1/fleets").json()["fleets"]] == [2]
