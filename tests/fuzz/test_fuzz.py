from tests.fuzz.rig import fuzz, fuzzable


def test_a_short_fuzz_of_the_whole_document(tmp_path):
    """Hundreds of requests made from the OpenAPI document, good and bad: no 500, no answer that it does not name."""
    with fuzzable(f"sqlite:///{tmp_path / 'jobs.db'}") as (address, key, tally):
        code, said = fuzz(address, key, tmp_path, phases="examples,fuzzing", examples=30, seed=1, seconds=300)
        assert code == 0, said[-6000:]
    assert tally.cases >= 300
    assert tally.server_errors == 0
