"""The way out, on real sockets."""

import datetime as dt
import ssl
import time

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jobs.reach import Reach
from tests.support.receiver import DRIP, GARBAGE, HANG, HUGE, RESET, Receiver
from worker import egress
from worker.egress import Egress

HEADERS = {"content-type": "application/json", "webhook-id": "m1"}
BODY = b'{"type":"webhook.test"}'


@pytest.fixture
def receiver():
    """A receiver on loopback."""
    with Receiver() as found:
        yield found


def local(**options):
    """Return a way out that may reach loopback, with little patience."""
    return Egress(Reach.LOOPBACK, **{"connect_seconds": 2.0, "total_seconds": 0.5, **options})


def leads_to(*answers):
    """Return a resolver that gives one answer after the other, and the list of what it was asked."""
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


class Recorded(httpcore.SyncBackend):
    """Opens no connection, and notes where to it should have."""

    def __init__(self):
        self.asked = []

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        """Note the address, and fail as an unreachable one does."""
        self.asked.append(host)
        raise httpcore.ConnectError("unreachable")


# Answers -------------------------------------------------------------------------------------------------------------


def test_a_delivery_arrives_whole(receiver):
    """The receiver gets one POST with path, headers and body as given; a success is an answer without fault."""
    answer = local().post(receiver.url, HEADERS, BODY)
    (got,) = receiver.got
    assert (answer.status, answer.error) == (204, None)
    assert got.line == "POST /hook?from=test HTTP/1.1"
    assert (got.headers["webhook-id"], got.body) == ("m1", BODY.decode())
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"


def test_a_refusal_is_told_in_the_receivers_words(receiver):
    """A status that is no success is a fault that quotes what the receiver said, made printable and cut."""
    receiver.script += [(422, {"Retry-After": "77"}, "unknown\r\n\x1b[31mkind \x00é"), (500, {}, "x" * 9000)]
    first, second = (local().post(receiver.url, HEADERS, BODY) for _ in range(2))
    assert (first.status, first.error, first.retry_after) == (422, "answered 422: unknown [31mkind é", "77")
    assert (second.status, len(second.error)) == (500, 300 + len("answered 500: "))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver, status):
    """A redirect is a fault; where it leads nobody goes."""
    with Receiver() as elsewhere:
        receiver.script.append((status, {"Location": elsewhere.url}, ""))
        answer = local().post(receiver.url, HEADERS, BODY)
        assert (answer.status, elsewhere.connections) == (status, 0)
    assert answer.error == f"answered {status}; redirects are not followed"


@pytest.mark.parametrize("how", [HANG, DRIP])
def test_a_receiver_that_takes_its_time_is_cut_off(receiver, how):
    """One that hangs, or gives its answer out byte by byte, is left when the time for all of it is up."""
    receiver.script.append(how)
    began = time.monotonic()
    answer = local().post(receiver.url, HEADERS, BODY)
    assert (answer.status, answer.error) in {
        (None, "no whole answer within 0.5 s"),
        (None, "no answer in time: timed out"),
    }
    assert time.monotonic() - began < 3


def test_a_handshake_that_never_ends_is_cut_off(receiver):
    """A receiver that takes the connection and does not speak TLS is left in time, too."""
    receiver.script.append(HANG)
    began = time.monotonic()
    answer = local(connect_seconds=30.0).post(receiver.url.replace("http:", "https:"), HEADERS, BODY)
    assert answer.status is None
    assert answer.error
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (RESET, "the connection broke before an answer"),
        (GARBAGE, "the answer is no HTTP"),
    ],
)
def test_a_receiver_that_breaks_off(receiver, how, words):
    """A reset and an answer in another language are faults, not crashes."""
    receiver.script.append(how)
    answer = local().post(receiver.url, HEADERS, BODY)
    assert answer.status is None
    assert answer.error.startswith(words)


def test_a_huge_answer_is_not_read(receiver):
    """Of an answer of megabytes a few kilobytes are read, and the fault is told."""
    receiver.script.append(HUGE)
    answer = local(total_seconds=5.0).post(receiver.url, HEADERS, BODY)
    assert answer.status == 500
    assert answer.error.startswith("answered 500: no! no! ")


def test_nobody_is_there():
    """A refused connection and a name without address are faults with their words."""
    with Receiver() as gone:
        pass
    assert local().post(gone.url, HEADERS, BODY).error.startswith("no connection: ")
    for found in ([], OSError("no such name")):
        answer = local(resolver=_failing(found)).post("http://hook.example/", HEADERS, BODY)
        assert answer.error == "not sent: the name hook.example has no address"


def _failing(found):
    def resolve(host, port):
        if isinstance(found, OSError):
            raise found
        return found

    return resolve


# Where it may go -----------------------------------------------------------------------------------------------------

INSIDE = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "::ffff:127.0.0.1", "fd00::1")


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_followed(address):
    """A name of the world that resolves to an address of ours is refused before any connection, and says so."""
    recorded = Recorded()
    resolve, asked = leads_to([address])
    answer = Egress(Reach.PUBLIC, resolver=resolve, sockets=recorded).post(
        "https://hook.example/", HEADERS, BODY
    )
    assert answer.status is None
    assert answer.error.startswith(f"not sent: {address} is a ")
    assert answer.error.endswith(" address, and hook.example leads there")
    assert (recorded.asked, asked) == ([], [("hook.example", 443)])


@pytest.mark.parametrize("url", ["https://127.1/", "https://2130706433/", "https://localhost/"])
def test_addresses_in_disguise_are_not_followed(url):
    """However an address is spelt, the system's own reading of it is what is judged."""
    recorded = Recorded()
    answer = Egress(Reach.PUBLIC, sockets=recorded).post(url, HEADERS, BODY)
    assert answer.error.startswith("not sent: ")
    assert recorded.asked == []


def test_one_address_inside_spoils_all():
    """A name with a good address and a bad one is refused as a whole, in either order."""
    for found in (["1.1.1.1", "127.0.0.1"], ["10.0.0.1", "1.1.1.1"]):
        recorded = Recorded()
        resolve, _ = leads_to(found)
        answer = Egress(Reach.PUBLIC, resolver=resolve, sockets=recorded).post(
            "https://hook.example/", HEADERS, BODY
        )
        assert answer.error.startswith("not sent: ")
        assert recorded.asked == []


def test_dns_rebinding_gains_nothing():
    """A name that is public when it is judged and loopback a moment later: it is looked up once for each try, and what
    was judged is what is connected to; at the next try it is judged anew.
    """
    recorded = Recorded()
    resolve, asked = leads_to(["1.1.1.1"], ["127.0.0.1"])
    way = Egress(Reach.PUBLIC, resolver=resolve, sockets=recorded)
    first = way.post("https://rebind.example/", HEADERS, BODY)
    assert (first.error, recorded.asked, len(asked)) == ("no connection: unreachable", ["1.1.1.1"], 1)
    second = way.post("https://rebind.example/", HEADERS, BODY)
    assert second.error == "not sent: 127.0.0.1 is a loopback address, and rebind.example leads there"
    assert (recorded.asked, len(asked)) == (["1.1.1.1"], 2)


def test_the_address_that_was_judged_is_used(receiver):
    """The connection goes to the address that the one look-up gave, while host and path stay the URL's."""
    resolve, asked = leads_to(["127.0.0.1"], ["10.0.0.1"])
    answer = local(resolver=resolve).post(f"http://hook.localhost:{receiver.port}/x", HEADERS, BODY)
    assert (answer.status, len(asked)) == (204, 1)
    assert receiver.got[0].headers["host"] == f"hook.localhost:{receiver.port}"


def test_what_is_not_encrypted_stays_on_this_machine():
    """Without TLS only loopback will do, wherever a name leads and whatever is allowed."""
    recorded = Recorded()
    resolve, _ = leads_to(["10.0.0.1"])
    answer = Egress(Reach.PRIVATE, resolver=resolve, sockets=recorded).post(
        "http://localhost/", HEADERS, BODY
    )
    assert "without TLS" in answer.error
    assert recorded.asked == []


def test_several_addresses_are_tried(receiver):
    """Where the first address does not answer, the next one does."""
    resolve, _ = leads_to(["::1", "127.0.0.1"])
    answer = local(resolver=resolve).post(f"http://hook.localhost:{receiver.port}/", HEADERS, BODY)
    assert answer.status == 204


def test_proxies_of_the_environment_are_not_used(receiver, monkeypatch):
    """A proxy that the environment names is not asked: it would undo the look at the address."""
    with Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert local().post(receiver.url, HEADERS, BODY).status == 204
        assert proxy.connections == 0


# TLS -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The path of a certificate for `hook.example`, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hook.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_the_certificate_is_checked_against_the_name(certificate):
    """TLS trusts the URL's name, not the address: the right name arrives, another and an unknown authority do not."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    resolve, _ = leads_to(["127.0.0.1"])
    with Receiver(tls=serving) as receiver:
        way = local(resolver=resolve, ssl_context=trusting, total_seconds=5.0)
        good = way.post(f"https://hook.example:{receiver.port}/", HEADERS, BODY)
        other = way.post(f"https://other.example:{receiver.port}/", HEADERS, BODY)
        strange = local(resolver=resolve).post(f"https://hook.example:{receiver.port}/", HEADERS, BODY)
        assert (good.status, len(receiver.got)) == (204, 1)
    assert "certificate verify failed" in other.error
    assert "certificate verify failed" in strange.error


def test_times_are_what_the_manual_says():
    """Three seconds to connect, fifteen in all."""
    assert (egress.CONNECT_SECONDS, egress.TOTAL_SECONDS, egress.MOST_READ) == (3.0, 15.0, 4096)
