import ipaddress

import pytest

from jobs.reach import Reach, kind_of, refusal, url_faults

INWARDS = {
    "loopback": ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"),
    "private": (
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255"),
        *("fc00::1", "fd00:a9fe:a9fe::1", "::ffff:10.0.0.1", "::ffff:a00:1", "64:ff9b::10.1.2.3"),
    ),
    "link-local": (
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ),
    "multicast": ("224.0.0.1", "239.255.255.255", "ff02::1"),
    "unspecified": ("0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"),
    "reserved": (
        *("192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1"),
        *("255.255.255.255", "::127.0.0.1", "::10.0.0.1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1"),
        *("2001:0:7f00:1::", "64:ff9b:1::7f00:1", "100::1", "fec0::1", "3fff::1", "4000::1", "5f00::1"),
    ),
}
OUTSIDE = (
    *("1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.0.1.1"),
    *("2600:3c00::1", "2a01:7e00::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"),
)


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, one) for kind, found in INWARDS.items() for one in found], ids=str
)
def test_addresses_that_are_not_the_worlds(kind, address):
    """An address inside somebody's network is refused in each of its spellings, and named for what it is."""
    assert kind_of(ipaddress.ip_address(address)) == kind
    assert refusal(address, Reach.PUBLIC) == f"{address} is a {kind} address"


@pytest.mark.parametrize("address", OUTSIDE)
def test_addresses_of_the_world(address):
    """What everybody can reach is reached, up to the very edges of what is not."""
    assert refusal(address, Reach.PUBLIC) is None


@pytest.mark.parametrize(
    ("reach", "kinds"), [(Reach.LOOPBACK, {"loopback"}), (Reach.PRIVATE, {"loopback", "private"})]
)
def test_what_an_operator_allows(reach, kinds):
    """Each setting opens what it names and nothing else; where clouds keep their metadata is never opened."""
    opened = {kind for kind, found in INWARDS.items() if all(refusal(one, reach) is None for one in found)}
    closed = {kind for kind, found in INWARDS.items() if all(refusal(one, reach) for one in found)}
    assert (opened, closed) == (kinds, set(INWARDS) - kinds)


@pytest.mark.parametrize(("address", "sent"), [("127.0.0.1", True), ("10.0.0.1", False), ("1.1.1.1", False)])
def test_without_tls_only_to_this_machine(address, sent):
    """What is not encrypted does not leave the machine, whatever the setting."""
    assert (refusal(address, Reach.PRIVATE, encrypted=False) is None) is sent


GOOD = (
    *("https://example.com", "https://example.com/hook?x=1", "https://a.b.example.com:8443/x"),
    *(
        "https://1.1.1.1/",
        "https://[2600:3c00::1]/",
        "https://xn--bcher-kva.example/",
        "https://my_app.example/",
    ),
)
BAD = {
    "http://example.com/": "is without TLS",
    "https://127.0.0.1/": "127.0.0.1 is a loopback address",
    "https://10.0.0.1/": "10.0.0.1 is a private address",
    "https://[::1]/": "::1 is a loopback address",
    "https://[::ffff:7f00:1]/": "::ffff:7f00:1 is a loopback address",
    "https://[64:ff9b::a00:1]/": "64:ff9b::a00:1 is a private address",
    "https://169.254.169.254/latest": "169.254.169.254 is a link-local address",
    "https://localhost/": "localhost is this machine itself",
    "https://app.localhost./": "localhost is this machine itself",
    "https://2130706433/": "has no host that can be looked up",
    "https://0x7f000001/": "has no host that can be looked up",
    "https://0177.0.0.1/": "has no host that can be looked up",
    "https://127.1/": "has no host that can be looked up",
    "https://me:secret@example.com/": "names a user or a password",
    "https://me@example.com/": "names a user or a password",
    "https://example.com/#part": "has a fragment",
    "https://example.com:22/": "port 22 is no web server's",
    "https://example.com:0/": "port 0 is no web server's",
    "https://example.com:99999/": "this is no URL that can be read",
    "https://example.com:x/": "this is no URL that can be read",
    "https://[::1/": "this is no URL that can be read",
    "https:///path": "has no host that can be looked up",
    "https://-a.example/": "has no host that can be looked up",
    "https://a..example/": "has no host that can be looked up",
    "https://bücher.example/": "expected at most 2048 printable ASCII characters without spaces",
    "https://example.com/ x": "expected at most 2048 printable ASCII characters without spaces",
    "https://example.com/\nHost: x": "expected at most 2048 printable ASCII characters without spaces",
    "https://example.com\\@10.0.0.1/": "expected at most 2048 printable ASCII characters without spaces",
    f"https://example.com/{'x' * 2048}": "expected at most 2048 printable ASCII characters without spaces",
    "ftp://example.com/": "expected the URL of your endpoint",
    "example.com/hook": "expected the URL of your endpoint",
    "": "expected the URL of your endpoint",
}


@pytest.mark.parametrize("url", GOOD)
def test_good_urls(url):
    """An https URL of the world is taken as it is."""
    assert url_faults(url, Reach.PUBLIC) == []


@pytest.mark.parametrize("url", BAD, ids=lambda url: url[:40])
def test_bad_urls(url):
    """A URL that will not do is refused with field, value, what is wrong and what would be right."""
    faults = url_faults(url, Reach.PUBLIC)
    assert [fault.message for fault in faults] == [BAD[url]]
    assert {(fault.field, fault.pointer) for fault in faults} == {("url", "/url")}
    assert all(fault.remedy for fault in faults)
    assert "secret" not in str(faults)


@pytest.mark.parametrize("url", [None, 7, ["https://example.com"], {"url": "x"}])
def test_what_is_no_url_at_all(url):
    """Something else than text is refused too."""
    assert [fault.message for fault in url_faults(url, Reach.PUBLIC)] == ["expected the URL of your endpoint"]


def test_every_fault_at_once():
    """Several things that are wrong with one URL are said together."""
    words = [fault.message for fault in url_faults("http://me:x@10.0.0.1:22/#a", Reach.PUBLIC)]
    assert len(words) == 5


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("http://127.0.0.1:9000/hook", True),
        ("http://localhost:9000/hook", True),
        ("http://[::1]:9000/", True),
        ("https://127.0.0.1/", True),
        ("http://127.0.0.2:9000/", False),
        ("http://example.com/", False),
        ("http://10.0.0.1/", False),
        ("https://10.0.0.1/", False),
    ],
)
def test_a_stack_of_ones_own(url, taken):
    """Where loopback is allowed, http is too, but only there."""
    assert (url_faults(url, Reach.LOOPBACK) == []) is taken
