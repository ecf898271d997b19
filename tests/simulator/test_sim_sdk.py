"""The official Python SDK, unchanged, against the simulator."""

import contextlib
import warnings

import httpx
import pytest

from simulator import SimulatorOptions, background

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    linode_api4 = pytest.importorskip("linode_api4")


@pytest.fixture(scope="module")
def server():
    """A simulator whose instances run after 0.3 s."""
    with background(SimulatorOptions(boot=0.3, limits={"list": [], "images": []})) as made:
        yield made


@pytest.fixture
def sdk(server):
    """The SDK's client, pointed at the simulator by its base URL."""
    client = linode_api4.LinodeClient(server.token, base_url=server.url, retry=False)
    with contextlib.closing(client.session):
        yield client


def _create(sdk, label, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return sdk.linode.instance_create(
            "g6-nanode-1", "us-east", image="linode/debian12", label=label, root_pass="aComplexP@ss1", **more
        )


def test_the_sdk_lists_catalogs_over_all_pages(sdk):
    """Types, regions, images, kernels and availability, each as long as it should be."""
    assert len(list(sdk.linode.types())) == 37
    assert len(list(sdk.regions())) == 34
    assert len(list(sdk.images())) == 37
    assert len(list(sdk.linode.kernels())) == 330
    assert len(list(sdk.regions.availability())) == 1457
    assert len(sdk.load(linode_api4.Region, "us-east").availability) == 47


def test_the_sdk_filters(sdk):
    """Its filter objects and orders are understood."""
    images = sdk.images(linode_api4.Image.vendor == "Debian", linode_api4.Image.deprecated == False)  # noqa: E712 - the SDK's way to filter
    assert {image.vendor for image in images} == {"Debian"}
    either = linode_api4.or_(linode_api4.Image.vendor == "Debian", linode_api4.Image.vendor == "Ubuntu")
    assert {image.vendor for image in sdk.images(either)} == {"Debian", "Ubuntu"}
    small = sdk.linode.types(linode_api4.Type.memory <= 2048)
    assert [plan.id for plan in small] == ["g6-nanode-1", "g6-standard-1"]


def test_the_sdk_creates_waits_finds_and_deletes(sdk):
    """Create, wait for the boot event, read by tag, shut down, rename, delete, and it is gone."""
    poller = sdk.polling.event_poller_create("linode", "linode_boot")
    made = _create(sdk, "sdk-1", tags=["sdk"])
    poller.set_entity_id(made.id)
    event = poller.wait_for_next_event_finished(timeout=20, interval=1)
    assert event.status == "finished"
    (found,) = list(sdk.linode.instances(linode_api4.Instance.tags.contains("sdk")))
    assert (found.id, found.status, found.region.id) == (made.id, "running", "us-east")
    found.label = "sdk-renamed"
    assert found.save()
    assert found.delete()
    assert list(sdk.linode.instances(linode_api4.Instance.label == "sdk-renamed")) == []


def test_the_sdk_reads_our_errors(sdk):
    """An error's status, words and fields arrive in the SDK's exception."""
    _create(sdk, "sdk-twice")
    with pytest.raises(linode_api4.ApiError, match="Label must be unique") as caught:
        _create(sdk, "sdk-twice")
    assert caught.value.status == 400
    with pytest.raises(linode_api4.ApiError, match="Not found"):
        sdk.load(linode_api4.Instance, 1)


def test_the_sdk_buys_twice_where_a_reply_is_lost():
    """A 408 after the create was applied makes the SDK send again: two machines without a label, one known."""
    lost = {"action": "request_timeout", "applied": "yes", "method": "POST", "count": 1}
    with background(SimulatorOptions(headers="none")) as server:
        httpx.post(f"{server.root}/_control/faults", json=lost)
        client = linode_api4.LinodeClient(server.token, base_url=server.url, retry_rate_limit_interval=0.01)
        with contextlib.closing(client.session):
            _create(client, None)
        assert httpx.get(f"{server.root}/_control/audit").json()["made"] == 2


def test_the_sdk_reads_profile_and_account(sdk):
    """The pages that it loads for a user."""
    assert sdk.profile().username == "simulated"
    assert sdk.account().email == "simulated@example.org"


def test_the_sdk_waits_out_a_429():
    """With the rate headers the SDK sends again after the window, and every machine is made once."""
    with background(SimulatorOptions(create_limit=2, create_window=1.0)) as server:
        client = linode_api4.LinodeClient(server.token, base_url=server.url)
        with contextlib.closing(client.session):
            made = [_create(client, f"wait-{number}").id for number in range(3)]
        audit = httpx.get(f"{server.root}/_control/audit").json()
    assert len(set(made)) == audit["kept"] == 3
