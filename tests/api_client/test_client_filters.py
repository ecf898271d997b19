import doctest

import pytest

import api_client.filters
from api_client import F, Filter, order_by


def test_the_examples_in_the_docs_hold():
    """The module's docstring shows what the builder really returns."""
    assert doctest.testmod(api_client.filters).failed == 0


def test_current_debian_images():
    """The guide's "all current Debian images" is two plain keys, which mean and."""
    found = F("vendor").eq("Debian") & F("deprecated").eq(False)
    assert found.to_json() == {"vendor": "Debian", "deprecated": False}


def test_debian_or_ubuntu_images():
    """The guide's "all Debian or Ubuntu images" is an `+or` of two objects."""
    found = (F("vendor") == "Debian") | (F("vendor") == "Ubuntu")
    assert found.to_json() == {"+or": [{"vendor": "Debian"}, {"vendor": "Ubuntu"}]}


@pytest.mark.parametrize(
    ("built", "operator"),
    [
        (F("vcpus").gt(2), "+gt"),
        (F("vcpus") > 2, "+gt"),
        (F("vcpus").gte(2), "+gte"),
        (F("vcpus") >= 2, "+gte"),
        (F("vcpus").lt(2), "+lt"),
        (F("vcpus") < 2, "+lt"),
        (F("vcpus").lte(2), "+lte"),
        (F("vcpus") <= 2, "+lte"),
        (F("vcpus").neq(2), "+neq"),
        (F("vcpus") != 2, "+neq"),
    ],
)
def test_comparisons(built, operator):
    """Each comparison is an object with the API's operator, by method and by sign."""
    assert built.to_json() == {"vcpus": {operator: 2}}


def test_contains():
    """`contains` looks for a text inside a field."""
    assert F("label").contains("web").to_json() == {"label": {"+contains": "web"}}


def test_conditions_on_one_field_need_an_explicit_and():
    """Two conditions on one field can't be two keys, so they become an `+and`, flat for three as well."""
    found = F("vcpus").gte(2) & F("vcpus").lte(8) & F("vcpus").neq(4)
    expected = [{"vcpus": {"+gte": 2}}, {"vcpus": {"+lte": 8}}, {"vcpus": {"+neq": 4}}]
    assert found.to_json() == {"+and": expected}


def test_nested_combinations_keep_their_shape():
    """An or inside an and, and the reverse, nest."""
    debian_or_ubuntu = F("vendor").eq("Debian") | F("vendor").eq("Ubuntu")
    both = debian_or_ubuntu & F("size").lt(2000)
    assert both.to_json() == {"+and": [debian_or_ubuntu.to_json(), {"size": {"+lt": 2000}}]}
    either = both | F("id").eq("private/1")
    assert either.to_json() == {"+or": [both.to_json(), {"id": "private/1"}]}
    assert (either | debian_or_ubuntu).to_json()["+or"][-1] == {"vendor": "Ubuntu"}


def test_a_nested_field_is_dotted():
    """A field of a field is written with a dot."""
    found = F("entity.id").eq(5) & F("entity.type").eq("linode")
    assert found.to_json() == {"entity.id": 5, "entity.type": "linode"}


def test_order_stays_at_the_top():
    """The order is a key of the whole filter, however the conditions are combined afterwards."""
    found = order_by("label", descending=True) & (F("tags").eq("a") | F("tags").eq("b"))
    assert found.to_json() == {"+or": [{"tags": "a"}, {"tags": "b"}], "+order_by": "label", "+order": "desc"}
    assert order_by("label").to_json() == {"+order_by": "label", "+order": "asc"}


def test_two_orders_are_refused():
    """A list has one order; combining two different ones is a mistake."""
    with pytest.raises(ValueError, match="one order"):
        order_by("label") & order_by("id")
    assert (order_by("id") & order_by("id")).order == ("id", "asc")


def test_the_header_is_one_line_of_ascii():
    """Whatever the value holds, the header can neither be broken nor injected into."""
    header = F("label").eq("ä\r\nX-Evil: 1").to_header()
    assert header.isascii()
    assert header.isprintable()


def test_a_hand_made_filter_is_sent_as_it_is():
    """What the builder lacks can be written by hand."""
    assert Filter({"+and": [{"a": 1}, {"+or": []}]}).to_json() == {"+and": [{"a": 1}, {"+or": []}]}


def test_a_field_is_no_value():
    """A field shows its name, and can't be used as a key, since comparing it builds a filter."""
    assert repr(F("label")) == "F('label')"
    with pytest.raises(TypeError):
        hash(F("label"))
