import pytest


@pytest.mark.parametrize(
    ("path", "results"),
    [
        ("/linode/types", 37),
        ("/regions", 34),
        ("/linode/kernels", 330),
        ("/regions/availability", 1457),
    ],
)
def test_public_catalogs_have_their_recorded_size_and_need_no_token(api, path, results):
    """Types, regions, kernels and availability answer without a token, as many rows as were recorded."""
    status, page = api.call("GET", path, token=None)
    assert (status, page["results"]) == (200, results)


def test_availability_takes_fifteen_pages(api):
    """The paged availability list has 15 pages of the default size."""
    assert api.call("GET", "/regions/availability")[1]["pages"] == 15


def test_availability_of_one_region_is_a_bare_array(api):
    """/regions/{id}/availability answers a list, not a page."""
    rows = api.call("GET", "/regions/us-east/availability")[1]
    assert len(rows) == 47
    assert {row["region"] for row in rows} == {"us-east"}


def test_private_images_show_with_a_token_only(api):
    """35 public images without a token; the account's own too with one."""
    assert api.call("GET", "/images", token=None)[1]["results"] == 35
    rows = api.call("GET", "/images", x_filter={"is_public": False})[1]["data"]
    assert [row["id"] for row in rows] == ["private/1001", "private/1002"]


@pytest.mark.parametrize("path", ["/images/linode%2Fdebian12", "/images/linode/debian12"])
def test_an_image_id_may_be_encoded_or_bare(api, path):
    """An image is found by its id with the slash encoded or not."""
    assert api.call("GET", path)[1]["size"] == 1500


@pytest.mark.parametrize("path", ["/linode/kernels/linode%2Fgrub2", "/linode/kernels/linode/grub2"])
def test_a_kernel_is_found_by_its_id(api, path):
    """A kernel's id has a slash too."""
    assert api.call("GET", path)[1]["label"] == "GRUB 2"


def test_a_type_carries_prices_by_region(api):
    """A type has its price, dearer regions, and the price of backups, all in USD."""
    plan = api.call("GET", "/linode/types/g6-nanode-1")[1]
    assert plan["price"] == {"hourly": 0.0075, "monthly": 5.0}
    assert plan["region_prices"][0] == {"id": "id-cgk", "hourly": 0.009, "monthly": 6.0}
    assert plan["addons"]["backups"]["price"]["monthly"] == 2.0
    assert (plan["memory"], plan["disk"], plan["vcpus"], plan["class"]) == (1024, 25600, 1, "nanode")


def test_regions_differ_in_what_they_can(api):
    """Some regions take GPU or premium plans, others do not."""
    regions = api.call("GET", "/regions")[1]["data"]
    able = {
        one: sum(one in row["capabilities"] for row in regions) for one in ("GPU Linodes", "Premium Plans")
    }
    assert able == {"GPU Linodes": 21, "Premium Plans": 23}


@pytest.mark.parametrize(
    "path", ["/linode/types/no", "/images/linode%2Fno", "/regions/no", "/regions/no/availability"]
)
def test_an_unknown_id_is_not_found(api, path):
    """Whatever is not in a catalog is 404 in the API's words."""
    assert api.call("GET", path) == (404, {"errors": [{"reason": "Not found"}]})


def test_facts_that_callers_lean_on(api):
    """Deprecated images say so, and cloud-init is a capability of an image."""
    images = {row["id"]: row for row in api.call("GET", "/images", query="page_size=500")[1]["data"]}
    assert images["linode/debian9"]["deprecated"]
    assert images["linode/ubuntu24.04"]["capabilities"] == ["cloud-init"]
    assert images["linode/arch"]["eol"] is None


def test_ends_of_life(api):
    """What newcomers ask for has its end of life ahead; a few images are past theirs, deprecated or not yet."""
    images = {row["id"]: row for row in api.call("GET", "/images", query="page_size=500")[1]["data"]}
    ended = [one for one in images.values() if one["eol"] and one["eol"] < "2026"]
    assert images["linode/debian12"]["eol"] > "2030"
    assert {one["deprecated"] for one in ended} == {True, False}
