import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.filters import parse_filter
from simulator.paging import paginate
from simulator.wire import ApiError

ROWS = [
    {"id": 1, "label": "web-1", "tags": ["prod", "web"], "region": "us-east", "group": ""},
    {"id": 2, "label": "web-2", "tags": ["prod"], "region": "us-west", "group": ""},
    {"id": 3, "label": "db-1", "tags": [], "region": "us-east", "group": None},
]


def _found(text, rows=ROWS, collection="instances"):
    return [row["id"] for row in parse_filter(text, collection).apply(rows)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (None, [1, 2, 3]),
        ("{}", [1, 2, 3]),
        ('{"label": "web-2"}', [2]),
        ('{"region": "us-east", "tags": "prod"}', [1]),
        ('{"tags": "web"}', [1]),
        ('{"label": {"+contains": "WEB"}}', [1, 2]),
        ('{"tags": {"+contains": "ro"}}', [1, 2]),
        ('{"region": {"+neq": "us-east"}}', [2]),
        ('{"id": {"+gt": 1}}', [2, 3]),
        ('{"id": {"+gte": 2, "+lt": 3}}', [2]),
        ('{"id": {"+lte": 1}}', [1]),
        ('{"+or": [{"label": "db-1"}, {"tags": "web"}]}', [1, 3]),
        ('{"+and": [{"region": "us-east"}, {"+or": [{"id": 1}, {"id": 2}]}]}', [1]),
        ('{"+order_by": "label", "+order": "asc"}', [3, 1, 2]),
        ('{"+order_by": "label", "+order": "desc"}', [2, 1, 3]),
        ('{"id": {"+gt": "a"}}', []),
    ],
)
def test_operators(text, ids):
    """Each operator picks the rows that it should, in the order asked for."""
    assert _found(text) == ids


@pytest.mark.parametrize(
    "text", ['{"entity.id": 7}', '{"entity": {"id": 7}}', '{"entity": {"id": {"+gte": 7}}}']
)
def test_nested_fields_may_be_dotted_or_nested(text):
    """entity.id can be written with a dot or as an object."""
    rows = [{"id": 1, "entity": {"id": 7}}, {"id": 2, "entity": {"id": 6}}, {"id": 3, "entity": None}]
    assert _found(text, rows, "events") == [1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"status": "running"}', "Cannot filter on status"),
        ('{"type": "g6-nanode-1"}', "Cannot filter on type"),
        ('{"+order_by": "status"}', "Cannot filter on status"),
        ('{"+or": [{"foo": 1}]}', "Cannot filter on foo"),
        ('{"foo": {"bar": 1}}', "Cannot filter on foo.bar"),
        ('{"label": ', "Filter not valid JSON"),
        ("[1]", "Filter not valid JSON"),
        ('{"+or": 1}', "Filter not valid JSON"),
        ('{"+and": [1]}', "Filter not valid JSON"),
        ('{"label": {"+like": "a"}}', "Cannot use operator +like"),
        ('{"+xor": []}', "Cannot use operator +xor"),
        ('{"+order": "up"}', "Must be one of asc, desc"),
    ],
)
def test_what_cannot_be_filtered_is_refused_in_the_recorded_words(text, reason):
    """Unknown fields and bad JSON are 400 and name the header."""
    with pytest.raises(ApiError) as caught:
        _found(text)
    assert caught.value.status == 400
    assert caught.value.complaints[0].shown() == {"reason": reason, "field": "X-Filter"}


def test_an_instance_can_be_filtered_by_its_placement_group():
    """placement_group.* opens the fields below it."""
    rows = [{"id": 1, "placement_group": {"id": 5}}, {"id": 2, "placement_group": None}]
    assert _found('{"placement_group.id": 5}', rows) == [1]


def _page(count, **query):
    return paginate(range(count), query, show=lambda one: one)


@settings(deadline=None)
@given(count=st.integers(0, 1200), size=st.integers(25, 500))
def test_the_pages_together_are_the_collection(count, size):
    """Read page by page, every item comes exactly once and in order."""
    first = _page(count, page_size=str(size))
    items = [
        one
        for number in range(1, first["pages"] + 1)
        for one in _page(count, page_size=str(size), page=str(number))["data"]
    ]
    assert items == list(range(count))
    assert first["results"] == count


@pytest.mark.parametrize("size", ["24", "501", "0", "-1", "many"])
def test_page_size_is_25_to_500(size):
    """Other sizes are 400 in the recorded words."""
    with pytest.raises(ApiError) as caught:
        _page(1, page_size=size)
    assert caught.value.complaints[0].shown() == {"reason": "Must be 25-500", "field": "page_size"}


def test_a_page_past_the_end_is_not_found():
    """There is no page 3 of 2."""
    with pytest.raises(ApiError) as caught:
        _page(150, page="3")
    assert caught.value.status == 404


def test_an_empty_collection_has_one_page_but_images_have_none(api):
    """Nothing found is page 1 of 1; for images it is page 0 of 0."""
    empty = {"data": [], "results": 0}
    assert api.call("GET", "/linode/instances")[1] == {**empty, "page": 1, "pages": 1}
    answer = api.call("GET", "/images", x_filter={"vendor": "Nobody"})
    assert answer == (200, {**empty, "page": 0, "pages": 0})
