import ast
import inspect

import pytest

from jobs import fleets, transitions
from jobs.states import Event, State
from nodewright.words import SENTENCES, duration, gap, read_by, sentence

FAULT = {"code": "no_capacity", "reason": "No capacity in us-east", "field": "region"}


def _written():
    """The names of every detail that a transition, or a submit, writes to the timeline."""
    names = set(vars(transitions.Reason("", "")))
    for function in ast.walk(
        ast.parse(inspect.getsource(transitions) + inspect.getsource(fleets._first_event))
    ):
        if isinstance(function, ast.FunctionDef):
            names |= {key for made in _details(function) for key in made if key is not None}
    return names


def _details(function):
    """The keys of each dict that a function gives as a detail: by name, by keyword, or as a step's fourth argument."""
    for node in ast.walk(function):
        values = []
        named = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in {"detail", "noted"}
        if named or (isinstance(node, ast.keyword) and node.arg == "detail"):
            values = [node.value]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_Step":
            values = node.args[3:]
        for value in values:
            for made in (one for one in ast.walk(value) if isinstance(one, ast.Dict)):
                yield [getattr(key, "value", None) for key in made.keys]


def test_each_event_has_a_sentence():
    """Whatever can happen to a job is said in words, and nothing else is."""
    assert set(SENTENCES) == {event.value for event in Event}


def test_every_detail_is_read():
    """Each detail that a transition writes has its place in some sentence, and no sentence waits for another one."""
    assert {"proof", "saw", "tag", "from", "tries", "why", "send"} <= _written()
    assert set().union(*map(read_by, SENTENCES.values())) == _written()


@pytest.mark.parametrize("event", list(Event))
def test_a_sentence_needs_no_detail(event):
    """A line that was written without its details is a whole sentence all the same."""
    said = sentence(event.value, None, State.QUEUED.value)
    assert said
    assert not set("[]{}") & set(said)


@pytest.mark.parametrize(
    ("event", "detail", "said"),
    [
        ("sent", {"attempt": 2, "send": 3}, "create sent (attempt 2, send 3)"),
        ("created", {"linode_id": 7, "proof": "our own 200"}, "created instance 7 (our own 200)"),
        (
            "unknown",
            {"code": "outcome_unknown", "reason": "ReadError: reset"},
            "reply lost, the instance may exist: ReadError: reset (outcome_unknown)",
        ),
        ("refused", FAULT, "refused: No capacity in us-east (no_capacity, field region)"),
        ("adopted", {"linode_id": 7, "proof": "tag nw:x.1"}, "looked up, adopted instance 7 (tag nw:x.1)"),
        ("delete_postponed", {}, "the instance is not gone yet, looks again"),
        (
            "fell_back",
            {"code": "no_capacity", "reason": "none", "from": "a in x", "to": "b in y"},
            "falls back from a in x to b in y, a new attempt: none (no_capacity)",
        ),
        ("looked", {"saw": "{nothing} [yet]"}, "looked up, not settled yet: {nothing} [yet]"),
        ("seen_running", {"host": "h1"}, "seen up (host h1)"),
        ("moved_house", {"to": "x"}, "moved house, now queued (to x)"),
    ],
)
def test_sentences(event, detail, said):
    """A sentence says all that is known, also what a younger service adds."""
    assert sentence(event, detail, "queued") == said


@pytest.mark.parametrize(
    ("event", "state", "seconds", "said"),
    [
        ("validated", "queued", 130.2, "waited 2 min 10 s for the rate window"),
        ("account_paused", "queued", 3600, "waited 1 h for the account"),
        ("sent", "creating", 3.4, "the create took 3 s"),
        ("created", "booting", 0.9, None),
        ("gone", "deleted", 90, None),
    ],
)
def test_gaps(event, state, seconds, said):
    """What the time between two events was spent on is said where it was worth a line."""
    assert gap(event, state, seconds) == said


def test_each_state_that_lasts_has_words_for_it():
    """Only what nobody leaves has no words for how long it lasted."""
    silent = {state.value for state in State if gap("", state.value, 60) is None}
    assert silent == {"rejected", "cancelled", "deleted"}


def test_durations():
    """Durations are said in two units at most."""
    assert [duration(seconds) for seconds in (0, 4.4, 59.6, 130, 3600, 11_100, 90_000)] == [
        *("0 s", "4 s", "1 min", "2 min 10 s", "1 h", "3 h 5 min", "1 d 1 h")
    ]
