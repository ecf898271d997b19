"""A million rows in seconds: fleets, jobs and first events, made inside PostgreSQL."""

from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.databases import ACCOUNT, TENANT
from jobs.database import Database


@dataclass(frozen=True)
class Crowd:
    """Jobs that look as if they had been submitted, in one state: ``fleets`` of ``each``, in turn of ``tenants``."""

    name: str
    state: str
    fleets: int
    each: int
    tenants: int = 1
    born: int = 0x19000000000
    """The moment in the ids, in milliseconds: crowds must not overlap, and each job takes one."""


_TENANTS = """
    INSERT INTO tenants (id, weight, alive, hourly_microusd, created_at)
    SELECT CASE t WHEN 0 THEN '{first}' ELSE 'tenant-' || t END, 1, 0, 0, now()
    FROM generate_series(0, {tenants} - 1) t ON CONFLICT DO NOTHING
"""
_FLEETS = """
    INSERT INTO fleets (id, tenant_id, name, count, priority, groups, secrets_erased, created_at)
    SELECT (lpad(to_hex({born}::bigint + f * {each}), 12, '0') || '70008000000000000000')::uuid,
        CASE f % {tenants} WHEN 0 THEN '{first}' ELSE 'tenant-' || f % {tenants} END, '{name}' || f, {each}, 0,
        jsonb_build_array(jsonb_build_object('type', 'g6-nanode-1', 'region', 'us-east', 'count', {each})), false, now()
    FROM generate_series(0, {fleets} - 1) f
"""
_JOBS = """
    INSERT INTO jobs (id, fleet_id, tenant_id, account_id, position, group_index, label, type, region, image, booted,
        priority, pinned, state, version, attempt, sends, tries, looks, hourly_microusd, counted, submitted_at,
        changed_at, linode_id, ended_at)
    SELECT (lpad(to_hex({born}::bigint + f * {each} + n), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
            || substr(md5(n::text), 4, 15))::uuid,
        (lpad(to_hex({born}::bigint + f * {each}), 12, '0') || '70008000000000000000')::uuid,
        CASE f % {tenants} WHEN 0 THEN '{first}' ELSE 'tenant-' || f % {tenants} END,
        '{account}', n + 1, 0, '{name}' || f || '-' || lpad((n + 1)::text, 7, '0'), 'g6-nanode-1', 'us-east',
        'linode/debian12', true, 0, false, '{state}', 1, 1, 0, 0, 0, 7500, '{state}' <> 'cancelled', now(), now(),
        CASE WHEN '{state}' = 'running' THEN f * {each} + n + 1 END, CASE WHEN '{state}' = 'cancelled' THEN now() END
    FROM generate_series(0::bigint, {fleets} - 1) f, generate_series(0::bigint, {each} - 1) n
"""
_EVENTS = """
    INSERT INTO job_events (job_id, at, event, state, actor)
    SELECT id, submitted_at, 'validated', 'queued', 'benchmark' FROM jobs WHERE label LIKE '{name}%'
"""


def fill(opened: Database, crowds: list[Crowd]) -> None:
    """Make the rows, and the statistics that autovacuum would soon make."""
    for crowd in crowds:
        values = vars(crowd) | {"first": TENANT, "account": ACCOUNT}
        for statement in (_TENANTS, _FLEETS, _JOBS, _EVENTS):
            with opened.write() as tx:
                tx.execute(text(statement.format(**values)))
    with opened.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
