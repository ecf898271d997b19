import pickle
import traceback

import httpx
import pytest

from api_client import (
    BadRequest,
    InstanceCreate,
    LinodeClient,
    LinodeError,
    Metadata,
    NotSent,
    OutcomeUnknown,
    Timeouts,
)

TOKEN = "tok-3141592653589793"
PASSWORD = "correct-horse-battery"
USER_DATA = b"#cloud-config password: staple"
REQUEST = InstanceCreate(
    type="g6-nanode-1",
    region="us-east",
    root_pass=PASSWORD,
    metadata=Metadata.encode(USER_DATA),
    stackscript_data={"db": {"passwords": ["swordfish", "sesame-open"]}},
)
ENCODED = REQUEST.metadata.user_data.get_secret_value()
SECRETS = (TOKEN, PASSWORD, ENCODED, "swordfish", "sesame-open")


def everything_about(error):
    """Text, repr, args, pickle, and a traceback with the locals of every frame, causes included."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    own_frames = "".join(line for line in report.format() if "test_client_secrets" not in line)
    shown = f"{error} {error!r} {error.args!r} {vars(error)!r} {pickle.dumps(error)!r} {own_frames}"
    link = error.__cause__
    while link is not None:
        shown += f"{link} {link!r} {link.args!r} {vars(link)!r}"
        link = link.__cause__ or link.__context__
    return shown


def assert_no_secret(shown):
    """None of the secrets is in the text."""
    assert [secret for secret in SECRETS if secret in shown] == []


def fail(transport_error):
    """The error of a create whose transport raises."""

    def handler(request):
        raise transport_error("it broke", request=request)

    with LinodeClient(TOKEN, transport=httpx.MockTransport(handler)) as client:
        with pytest.raises(LinodeError) as caught:
            client.instances.create(REQUEST)
        return caught.value


def test_requests_mask_their_secrets():
    """The repr of a create request shows neither password, user data nor StackScript data."""
    assert_no_secret(repr(REQUEST))
    assert_no_secret(str(REQUEST))


def test_a_malformed_request_is_refused_without_quoting_it():
    """A field of the wrong type is refused with its name, not with what was given."""
    with pytest.raises(ValueError, match="root_pass") as caught:
        InstanceCreate(type="t", region="r", root_pass=[PASSWORD])
    assert_no_secret(str(caught.value))


def test_the_client_masks_its_token():
    """The repr of the client and of everything that it holds leaves the token out."""
    with LinodeClient(TOKEN) as client:
        wire = client._wire
        assert_no_secret(repr(client))
        assert_no_secret(f"{vars(client)!r} {vars(wire)!r} {wire._http.headers!r}")


@pytest.mark.parametrize(
    "kind", [httpx.ConnectError, httpx.ReadTimeout, httpx.WriteError, httpx.RemoteProtocolError]
)
def test_transport_errors_hold_no_secret(kind):
    """The foreign error stays as the cause, without the request that holds headers and body."""
    error = fail(kind)
    assert isinstance(error.__cause__, kind)
    assert_no_secret(everything_about(error))
    with pytest.raises(RuntimeError):
        _ = error.__cause__.request


@pytest.mark.parametrize("answer", ['{"id": "%s"}', '{"errors": [{"reason": "%s"}]}', "<%s>", "%s"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_server_that_echoes_secrets_is_not_quoted(answer, status):
    """A reply that repeats the secrets of its request does not bring them into the error."""
    body = answer % " ".join(SECRETS)
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
    with LinodeClient(TOKEN, transport=transport) as client, pytest.raises(LinodeError) as caught:
        client.instances.create(REQUEST)
    assert_no_secret(everything_about(caught.value))


def test_words_around_an_echoed_secret_are_kept(api, client):
    """Only the secret itself is struck out of the API's words."""
    api.on("POST", "/v4/linode/instances", {"errors": [{"reason": f"'{PASSWORD}' is weak"}]}, status=400)
    with pytest.raises(BadRequest) as caught:
        client.instances.create(REQUEST)
    assert caught.value.reasons == ("'**********' is weak",)


def test_short_values_do_not_garble_the_words(api, client):
    """A StackScript value of one letter is not struck out of every word."""
    api.on("POST", "/v4/linode/instances", {"errors": [{"reason": "a bad label"}]}, status=400)
    request = InstanceCreate(type="t", region="r", stackscript_data={"x": "a", "n": 3})
    with pytest.raises(BadRequest) as caught:
        client.instances.create(request)
    assert caught.value.reasons == ("a bad label",)


def test_real_socket_errors_hold_no_secret(socket_server):
    """A read timeout of the real transport holds no bytes of the request in any frame."""
    server = socket_server(lambda _conn, server: server.done.wait(5))
    timeouts = Timeouts(read=0.05)
    with (
        LinodeClient(TOKEN, base_url=server.url, timeouts=timeouts) as client,
        pytest.raises(OutcomeUnknown) as caught,
    ):
        client.instances.create(REQUEST)
    assert isinstance(caught.value.__cause__, httpx.ReadTimeout)
    assert PASSWORD.encode() in server.requests[0]
    assert_no_secret(everything_about(caught.value))


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ünïcode", "nul\0"])
def test_a_token_no_header_can_carry_is_refused_unquoted(token):
    """A malformed token is refused at once, and not repeated."""
    with pytest.raises(ValueError, match="the token must be") as caught:
        LinodeClient(token)
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = "".join(frame for frame in report.format() if "test_client_secrets" not in frame)
    assert not token or repr(token) not in frames


def test_an_address_with_a_password_is_refused():
    """Credentials in the base URL would show up in logs, and override the token."""
    with pytest.raises(ValueError, match="user or password") as caught:
        LinodeClient(TOKEN, base_url=f"https://me:{PASSWORD}@api.linode.com/v4")
    assert_no_secret(str(caught.value))


def test_a_body_that_is_no_json_is_refused_unquoted(client, api):
    """A value that JSON or UTF-8 can't express is the caller's mistake: nothing is sent, nothing quoted."""
    request = InstanceCreate(type="t", region="r", stackscript_data={"a": PASSWORD + "\ud800"})
    with pytest.raises(ValueError, match="cannot be written") as caught:
        client.instances.create(request)
    assert_no_secret(str(caught.value))
    assert caught.value.__cause__ is None
    assert api.requests == []


def test_a_closed_client_sends_nothing(client, api):
    """After close a call is NotSent."""
    client.close()
    with pytest.raises(NotSent, match="closed"):
        client.instances.create(REQUEST)
    assert api.requests == []
