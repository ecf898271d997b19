import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_client import BadRequest, F, LinodeClient, NotFound, OutcomeUnknown, Page, ServerFault

PATH = "/v4/linode/instances"
NOT_FOUND = {"errors": [{"reason": "Not found"}]}


class ChangingList:
    """A list of instances that may be changed between two calls: `sizes` gives its length at each."""

    def __init__(self, *sizes, past_end="empty"):
        self.sizes = list(sizes)
        self.past_end = past_end
        self.asked = []

    def __call__(self, request):
        page, size = (int(request.url.params[name]) for name in ("page", "page_size"))
        length = self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]
        self.asked.append(page)
        pages = max(1, -(-length // size))
        if page > pages and self.past_end == "last":
            page = pages
        if page > pages and self.past_end != "empty":
            return httpx.Response(self.past_end, json=NOT_FOUND)
        numbers = range((page - 1) * size + 1, min(page * size, length) + 1)
        body = {
            "data": [{"id": number} for number in numbers],
            "page": page,
            "pages": pages,
            "results": length,
        }
        return httpx.Response(200, json=body)

    def client(self):
        return LinodeClient("tok", transport=httpx.MockTransport(self))


def read_ids(server, page_size=25):
    """The ids that one reading of the whole list yields."""
    with server.client() as client:
        return [instance.id for instance in client.instances.list(page_size=page_size)]


@pytest.mark.parametrize("page_size", [25, 100, 499, 500])
@pytest.mark.parametrize("length", [1, 25, 99, 100, 500, 501])
def test_every_item_comes_once(length, page_size):
    """A list at rest is read whole, in order, in as many calls as it has pages."""
    server = ChangingList(length)
    assert read_ids(server, page_size) == list(range(1, length + 1))
    assert server.asked == list(range(1, -(-length // page_size) + 1))


def test_the_total_is_known_before_the_items():
    """The total costs the first page only, and that page is not fetched again."""
    server = ChangingList(60)
    with server.client() as client:
        listing = client.instances.list(page_size=25)
        assert server.asked == []
        assert listing.total == 60
        assert server.asked == [1]
        assert len(list(listing)) == 60
        assert server.asked == [1, 2, 3]


def test_pages_come_with_their_replies():
    """`pages` yields each page's reply, in turn and only when asked."""
    server = ChangingList(60)
    with server.client() as client:
        pages = client.instances.list(page_size=25).pages()
        first = next(pages)
        assert server.asked == [1]
        assert (first.status, first.value.page, first.value.pages, first.value.is_last) == (200, 1, 3, False)
        assert [reply.value.is_last for reply in pages] == [False, True]


@pytest.mark.parametrize("numbers", [(1, 1), (0, 0)])
def test_an_empty_list_is_one_call(api, client, numbers):
    """Empty lists answer page 1 of 1, or 0 of 0 in the case of images; both are just empty."""
    page, pages = numbers
    api.on("GET", "/v4/images", {"data": [], "page": page, "pages": pages, "results": 0})
    listing = client.images.list(where=F("vendor").eq("nobody"))
    assert (listing.total, list(listing)) == (0, [])
    assert len(api.requests) == 1
    assert listing.first.value.is_last


@pytest.mark.parametrize("past_end", ["empty", "last", 400, 404])
def test_a_list_that_shrinks_ends(past_end):
    """When the next page is gone by the time it is read, the reading ends, however the API answers."""
    server = ChangingList(75, 20, past_end=past_end)
    assert read_ids(server) == list(range(1, 26))
    assert server.asked == [1, 2]


def test_a_list_that_shrinks_a_little_is_read_to_its_new_end():
    """A page that the latest reply no longer counts is not asked for."""
    server = ChangingList(100, 45)
    assert read_ids(server) == list(range(1, 46))
    assert server.asked == [1, 2]


def test_a_list_that_grows_is_read_to_its_new_end():
    """Pages that appear meanwhile are read as well."""
    server = ChangingList(25 + 1, 75)
    assert read_ids(server) == list(range(1, 76))


def test_a_list_that_grows_without_end_is_given_up():
    """However fast a list grows, the reading ends after twice its pages and sixteen more."""
    server = ChangingList(*range(50, 50 + 25 * 1000, 25))
    read_ids(server)
    assert server.asked == list(range(1, 2 * 2 + 16 + 1))


def test_a_fault_on_a_later_page_is_raised():
    """Only 400 and 404 mean a page past the end; a fault is the caller's to see."""
    with pytest.raises(ServerFault):
        read_ids(ChangingList(75, 20, past_end=502))


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequest), (404, NotFound)])
def test_a_refusal_of_the_first_page_is_raised(api, client, status, kind):
    """A list whose first page is refused is no empty list."""
    api.on("GET", PATH, NOT_FOUND, status=status)
    with pytest.raises(kind):
        list(client.instances.list())


@pytest.mark.parametrize("page_size", [0, 24, 501, -1])
def test_a_page_size_out_of_bounds_is_refused(api, client, page_size):
    """A page size that the API would refuse is refused here, without a call."""
    with pytest.raises(ValueError, match="page_size must be 25 to 500"):
        client.instances.list(page_size=page_size)
    with pytest.raises(ValueError, match="page_size must be 25 to 500"):
        client.instances.list_page(page_size=page_size)
    assert api.requests == []


def test_a_page_number_below_one_is_refused(client):
    """Pages count from 1."""
    with pytest.raises(ValueError, match="page must be 1 or more"):
        client.instances.list_page(0)


def test_one_page_is_one_call():
    """`list_page` fetches the page that was asked for, and nothing else."""
    server = ChangingList(60)
    with server.client() as client:
        reply = client.instances.list_page(3, page_size=25)
    assert [item.id for item in reply.value.data] == list(range(51, 61))
    assert server.asked == [3]


def test_missing_numbers_are_made_up(api, client):
    """A page that only has data counts as the page that was asked for, and as the last."""
    api.on("GET", PATH, {"data": [{"id": 1}], "page": None, "pages": "many", "results": -1})
    page = client.instances.list_page(2, page_size=25).value
    assert (page.page, page.pages, page.results) == (2, 2, 26)
    assert page.is_last


def test_a_wrong_page_number_in_a_reply_loses_nothing():
    """A server that numbers each page 1 is read whole all the same."""
    inner = ChangingList(60)

    def relabel(request):
        body = inner(request).json()
        return httpx.Response(200, json={**body, "page": 1})

    with LinodeClient("tok", transport=httpx.MockTransport(relabel)) as client:
        assert len(list(client.instances.list(page_size=25))) == 60


@pytest.mark.parametrize("body", [[], {}, {"data": None}, {"data": [{"label": "no id"}]}, {"data": [None]}])
def test_what_is_no_page_is_unreadable(api, client, body):
    """A list that is no page, or holds something without an id, is not taken for an empty one."""
    api.on("GET", PATH, body)
    with pytest.raises(OutcomeUnknown, match="could not be read"):
        list(client.instances.list())


@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=12),
    past_end=st.sampled_from(["empty", "last", 400, 404]),
)
def test_any_reading_ends_without_a_crash(sizes, past_end):
    """Whatever lengths the list has from call to call, the reading ends within its bound."""
    server = ChangingList(*sizes, past_end=past_end)
    bound = 2 * max(1, -(-sizes[0] // 25)) + 16
    read_ids(server)
    assert len(server.asked) <= bound
    assert server.asked == list(range(1, len(server.asked) + 1))


def test_a_page_is_a_value():
    """Two pages with the same content are equal."""
    assert Page((1,), 1, 1, 1) == Page((1,), 1, 1, 1)
