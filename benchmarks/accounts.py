"""Two Linode accounts against one: the same fleet, the same limit for each token, at the same time.

python -m benchmarks.accounts [--quick]
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.arithmetic import account, floor_seconds
from benchmarks.lab import Api, Ours, Simulated, scratch, simulated, stack
from benchmarks.report import Bound, Row, main
from benchmarks.trials import FleetTrial, kept
from benchmarks.waves import Go, run_waves
from jobs import accounts, tenants
from jobs.accounts import fingerprint
from nodewright.client import Client
from nodewright.settings import Settings
from nodewright.wiring import TENANT, Wiring, migrate

ONE, TWO = "one account", "two accounts"
SECOND = "sec0nd-t0ken"
TABLE = "A fleet of {count} over one and two accounts, each with {limit} creates: seconds until all run"
NEARLY_HALF = 0.55


@dataclass(frozen=True)
class AccountsTrial(FleetTrial):
    """A run of ours whose tenant has a second account, with a limit of its own."""

    def prepare(self, held: ExitStack) -> Go:
        """Start the processes; the second account is there before the worker starts."""
        folder = held.enter_context(scratch())
        simulator = held.enter_context(simulated(self.api, folder))
        simulator.control("POST", "tokens", {"token": f"{SECOND}@second"})
        home = {"NODEWRIGHT_HOME": str(folder / "home")}
        _add_account(Wiring(Settings.load(home)))
        client = held.enter_context(stack(simulator, self.ours, folder))
        return lambda: self._measured(simulator, client)

    def _measured(self, simulator: Simulated, client: Client) -> dict[str, Any]:
        found = self._go(simulator, client)
        homes = [one["account"] for one in found["_audit"]["instances"]]
        return found | {"in the second": homes.count("second")}


def _add_account(wiring: Wiring) -> None:
    """Do what `accounts add` and `tenants set` do, before anybody runs on the database."""
    with wiring.database() as database:
        migrate(database)
        with database.write() as tx:
            accounts.add_token(tx, "second", fingerprint(SECOND), accounts.seal(wiring.vault(), SECOND))
            tenants.map_accounts(tx, TENANT, (tenants.DEFAULT_ACCOUNT, "second"))


def measure(*, quick: bool) -> list[Row]:
    count, seconds = (60, 3.0) if quick else (200, 5.0)
    api = Api(create=f"10/{seconds:g}", latency=0.5, boot=2.0)
    ours = Ours(create_limit=api.create)
    chosen = [FleetTrial(ONE, api, count, ours), AccountsTrial(TWO, api, count, ours)]
    single, double = run_waves(chosen, at_once=2)
    return [_row(run, single, count=count, api=api, quick=quick) for run in (single, double)]


def _row(run: dict[str, Any], single: dict[str, Any], *, count: int, api: Api, quick: bool) -> Row:
    two = run is not single
    table = TABLE.format(count=count, limit=api.create.replace("/", " per ") + " s")
    accounts_ = 2 if two else 1
    floor = floor_seconds(-(-count // accounts_), api.buckets, latency=api.latency, boot=api.boot)
    figures = {
        "seconds": run["seconds"],
        "floor": floor,
        "of one": run["seconds"] / single["seconds"],
        "in the second": run.get("in the second", 0),
        "refused": account(run["_audit"]).refused,
        "bought twice": run["bought twice"],
    }
    usual = {"refused": Bound(most=0), "bought twice": Bound(most=0)}
    half = {"of one": Bound(most=0.65 if quick else NEARLY_HALF)} if two else {}
    return Row(table, TWO if two else ONE, figures, usual | half, runs=[kept(run)])


if __name__ == "__main__":
    sys.exit(main("accounts", measure))
