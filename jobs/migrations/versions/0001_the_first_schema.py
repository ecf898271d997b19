"""The first schema."""

import sqlalchemy as sa
from alembic import op

from jobs.columns import Identifier, JsonDocument, LabelText, RowNumber, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("euuid", sa.String(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("paused_at", UtcDateTime(), nullable=True),
        sa.Column("paused_code", sa.String(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("faults", sa.Integer(), nullable=False),
        sa.Column("probe_at", UtcDateTime(), nullable=True),
        sa.Column("unknown_at", UtcDateTime(), nullable=True),
        sa.Column("held_at", UtcDateTime(), nullable=True),
        sa.Column("boot_seconds", sa.Float(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.create_index("uq_accounts_euuid", ["euuid"], unique=True)

    op.create_table(
        "catalogs",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("rows", JsonDocument, nullable=False),
        sa.Column("fetched_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "kind", name=op.f("pk_catalogs")),
    )
    op.create_table(
        "chores",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("hastened_at", UtcDateTime(), nullable=True),
        sa.Column("succeeded_at", UtcDateTime(), nullable=True),
        sa.Column("failed_at", UtcDateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("state", JsonDocument, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )
    op.create_table(
        "refused_messages",
        sa.Column("id", RowNumber, nullable=False),
        sa.Column("fleet_id", Identifier, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused_messages")),
    )
    op.create_table(
        "installation",
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("held_at", UtcDateTime(), nullable=True),
        sa.Column("timeline", sa.String(), nullable=True),
        sa.Column("alive_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("row = 1", name=op.f("ck_installation_one_row")),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_installation")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_table(
        "job_events",
        sa.Column("id", RowNumber, nullable=False),
        sa.Column("job_id", Identifier, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("detail", JsonDocument, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
    )
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.create_index("ix_job_events_job_id_id", ["job_id", "id"], unique=False)

    op.create_table(
        "tenants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("max_count", sa.Integer(), nullable=True),
        sa.Column("max_instances", sa.Integer(), nullable=True),
        sa.Column("max_hourly_microusd", RowNumber, nullable=True),
        sa.Column("alive", sa.Integer(), nullable=False),
        sa.Column("hourly_microusd", RowNumber, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("alive >= 0", name=op.f("ck_tenants_alive_not_negative")),
        sa.CheckConstraint("hourly_microusd >= 0", name=op.f("ck_tenants_spend_not_negative")),
        sa.CheckConstraint("weight > 0", name=op.f("ck_tenants_weight_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_table(
        "tenant_accounts",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_tenant_accounts_account_id_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_accounts_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "account_id", name=op.f("pk_tenant_accounts")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "fleets",
        sa.Column("id", Identifier, nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("groups", JsonDocument, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("secrets_erased", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("request_hash", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("traceparent", sa.String(), nullable=True),
        sa.Column("held_at", UtcDateTime(), nullable=True),
        sa.Column("stopped_at", UtcDateTime(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("deadline_at", UtcDateTime(), nullable=True),
        sa.Column("ttl_seconds", sa.Integer(), nullable=True),
        sa.Column("boot_timeout_seconds", sa.Integer(), nullable=True),
        sa.Column("on_failure", JsonDocument, nullable=True),
        sa.Column("told", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retired_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("count >= 1", name=op.f("ck_fleets_count_positive")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_fleets_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleets")),
    )
    with op.batch_alter_table("fleets", schema=None) as batch_op:
        batch_op.create_index(
            "ix_fleets_deadline_at",
            ["deadline_at"],
            unique=False,
            sqlite_where=sa.text("deadline_at IS NOT NULL"),
            postgresql_where=sa.text("deadline_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_fleets_stopped_at",
            ["stopped_at"],
            unique=False,
            sqlite_where=sa.text("stopped_at IS NOT NULL"),
            postgresql_where=sa.text("stopped_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_fleets_held_at",
            ["held_at"],
            unique=False,
            sqlite_where=sa.text("held_at IS NOT NULL"),
            postgresql_where=sa.text("held_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_fleets_retired_at",
            ["retired_at"],
            unique=False,
            sqlite_where=sa.text("retired_at IS NOT NULL"),
            postgresql_where=sa.text("retired_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_fleets_sealed",
            ["id"],
            unique=False,
            sqlite_where=sa.text("sealed IS NOT NULL"),
            postgresql_where=sa.text("sealed IS NOT NULL"),
        )
        batch_op.create_index("ix_fleets_tenant_id_name", ["tenant_id", "name"], unique=False)
        batch_op.create_index(
            "uq_fleets_tenant_id_idempotency_key", ["tenant_id", "idempotency_key"], unique=True
        )

    op.create_table(
        "tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("refused_at", UtcDateTime(), nullable=True),
        sa.Column("refused_reason", sa.Text(), nullable=True),
        sa.Column("probe_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", Identifier, nullable=False),
        sa.Column("fleet_id", Identifier, nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("group_index", sa.Integer(), nullable=False),
        sa.Column("label", LabelText, nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("image", sa.String(), nullable=True),
        sa.Column("booted", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("choice", sa.Integer(), server_default="0", nullable=False),
        sa.Column("run_after", UtcDateTime(), nullable=True),
        sa.Column("send_before", UtcDateTime(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("window_generation", sa.Integer(), nullable=True),
        sa.Column("token_id", sa.String(), nullable=True),
        sa.Column("ending", sa.String(), nullable=True),
        sa.Column("afterwards", sa.String(), nullable=True),
        sa.Column("last_unknown_at", UtcDateTime(), nullable=True),
        sa.Column("parked_at", UtcDateTime(), nullable=True),
        sa.Column("linode_id", RowNumber, nullable=True),
        sa.Column("ipv4", sa.String(), nullable=True),
        sa.Column("ipv6", sa.String(), nullable=True),
        sa.Column("got_type", sa.String(), nullable=True),
        sa.Column("got_region", sa.String(), nullable=True),
        sa.Column("hourly_microusd", RowNumber, nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("reserved_microusd", RowNumber, server_default="0", nullable=False),
        sa.Column("spent_microusd", RowNumber, server_default="0", nullable=False),
        sa.Column("wasted_microusd", RowNumber, server_default="0", nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("error_field", sa.String(), nullable=True),
        sa.Column("submitted_at", UtcDateTime(), nullable=False),
        sa.Column("dispatched_at", UtcDateTime(), nullable=True),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=True),
        sa.Column("running_at", UtcDateTime(), nullable=True),
        sa.Column("ttl_seconds", sa.Integer(), nullable=True),
        sa.Column("boot_timeout_seconds", sa.Integer(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "afterwards IS NULL OR afterwards = 'retry'", name=op.f("ck_jobs_afterwards_known")
        ),
        sa.CheckConstraint(
            "ending IS NULL OR ending IN ('cancel', 'fail')", name=op.f("ck_jobs_ending_known")
        ),
        sa.CheckConstraint(
            "state <> 'creating' OR lease_until IS NOT NULL", name=op.f("ck_jobs_creating_has_lease")
        ),
        sa.CheckConstraint(
            "state <> 'failed' OR error_code IS NOT NULL", name=op.f("ck_jobs_failed_has_code")
        ),
        sa.CheckConstraint(
            "state IN ('submitted', 'rejected', 'queued', 'dispatched', 'creating', 'uncertain', 'booting', 'running', 'failed', 'cancelled', 'deleting', 'deleted')",
            name=op.f("ck_jobs_state_known"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('booting', 'running', 'deleting') OR linode_id IS NOT NULL",
            name=op.f("ck_jobs_owner_has_instance"),
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_jobs_attempt_positive")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_jobs_version_positive")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_jobs_fleet_id_fleets")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_expires_at",
            ["expires_at"],
            unique=False,
            sqlite_where=sa.text("expires_at IS NOT NULL AND state IN ('booting','running','failed')"),
            postgresql_where=sa.text("expires_at IS NOT NULL AND state IN ('booting','running','failed')"),
        )
        batch_op.create_index(
            "ix_jobs_ready",
            ["account_id", "tenant_id", sa.text("priority DESC"), "id"],
            unique=False,
            sqlite_where=sa.text("state = 'queued' AND run_after IS NULL"),
            postgresql_where=sa.text("state = 'queued' AND run_after IS NULL"),
        )
        batch_op.create_index("ix_jobs_fleet_id_position", ["fleet_id", "position"], unique=False)
        batch_op.create_index("ix_jobs_fleet_id_state", ["fleet_id", "state"], unique=False)
        batch_op.create_index(
            "ix_jobs_granted",
            ["lease_until"],
            unique=False,
            sqlite_where=sa.text("state = 'dispatched'"),
            postgresql_where=sa.text("state = 'dispatched'"),
        )
        batch_op.create_index(
            "ix_jobs_leased",
            ["lease_until"],
            unique=False,
            sqlite_where=sa.text("state = 'creating'"),
            postgresql_where=sa.text("state = 'creating'"),
        )
        batch_op.create_index(
            "ix_jobs_open",
            ["account_id", "state", "run_after"],
            unique=False,
            sqlite_where=sa.text("state IN ('uncertain','booting','deleting')"),
            postgresql_where=sa.text("state IN ('uncertain','booting','deleting')"),
        )
        for name in ("ipv4", "ipv6"):
            batch_op.create_index(
                f"ix_jobs_{name}",
                [name],
                unique=False,
                sqlite_where=sa.text(f"{name} IS NOT NULL"),
                postgresql_where=sa.text(f"{name} IS NOT NULL"),
            )
        batch_op.create_index(
            "ix_jobs_tenant_id_state_id",
            ["tenant_id", "state", "id"],
            unique=False,
            sqlite_where=sa.text("state IN ('running','failed','rejected','cancelled','deleted')"),
            postgresql_where=sa.text("state IN ('running','failed','rejected','cancelled','deleted')"),
        )
        batch_op.create_index(
            "ix_jobs_paid_for",
            ["fleet_id"],
            unique=False,
            sqlite_where=sa.text("spent_microusd > 0 OR wasted_microusd > 0"),
            postgresql_where=sa.text("spent_microusd > 0 OR wasted_microusd > 0"),
        )
        batch_op.create_index(
            "ix_jobs_released",
            ["tenant_id"],
            unique=False,
            sqlite_where=sa.text(
                "counted AND (state IN ('rejected','cancelled','deleted') OR (state = 'failed' AND linode_id IS NULL))"
            ),
            postgresql_where=sa.text(
                "counted AND (state IN ('rejected','cancelled','deleted') OR (state = 'failed' AND linode_id IS NULL))"
            ),
        )
        batch_op.create_index(
            "ix_jobs_snoozed",
            ["run_after"],
            unique=False,
            sqlite_where=sa.text("state = 'queued' AND run_after IS NOT NULL"),
            postgresql_where=sa.text("state = 'queued' AND run_after IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_jobs_submitted",
            ["account_id", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'submitted'"),
            postgresql_where=sa.text("state = 'submitted'"),
        )
        batch_op.create_index(
            "ix_jobs_tenant_id_error_code_id",
            ["tenant_id", "error_code", "id"],
            unique=False,
            sqlite_where=sa.text("error_code IS NOT NULL"),
            postgresql_where=sa.text("error_code IS NOT NULL"),
        )
        batch_op.create_index("ix_jobs_tenant_id_id", ["tenant_id", "id"], unique=False)
        batch_op.create_index("ix_jobs_tenant_id_label_id", ["tenant_id", "label", "id"], unique=False)
        batch_op.create_index(
            "uq_jobs_account_id_label",
            ["account_id", "label"],
            unique=True,
            sqlite_where=sa.text(
                "state IN ('submitted','queued','dispatched','creating','uncertain','booting','running','deleting') OR (state = 'failed' AND linode_id IS NOT NULL)"
            ),
            postgresql_where=sa.text(
                "state IN ('submitted','queued','dispatched','creating','uncertain','booting','running','deleting') OR (state = 'failed' AND linode_id IS NOT NULL)"
            ),
        )
        batch_op.create_index(
            "uq_jobs_account_id_linode_id",
            ["account_id", "linode_id"],
            unique=True,
            sqlite_where=sa.text("linode_id IS NOT NULL"),
            postgresql_where=sa.text("linode_id IS NOT NULL"),
        )

    op.create_table(
        "rate_windows",
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("allowed", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("spent", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=True),
        sa.Column("started_by", UtcDateTime(), nullable=True),
        sa.Column("granted_at", UtcDateTime(), nullable=True),
        sa.Column("closed_until", UtcDateTime(), nullable=True),
        sa.Column("margin_seconds", sa.Float(), nullable=False),
        sa.Column("withheld", sa.Integer(), nullable=False),
        sa.Column("patience_seconds", sa.Float(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("rejected_by", UtcDateTime(), nullable=True),
        sa.Column("counted", sa.Integer(), nullable=False),
        sa.Column("claimed", sa.Integer(), nullable=True),
        sa.Column("claimed_at", UtcDateTime(), nullable=True),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("refused_at", UtcDateTime(), nullable=True),
        sa.Column("shares", JsonDocument, nullable=True),
        sa.CheckConstraint("allowed >= 0", name=op.f("ck_rate_windows_allowed_not_negative")),
        sa.CheckConstraint("seconds > 0", name=op.f("ck_rate_windows_seconds_positive")),
        sa.CheckConstraint("spent >= 0", name=op.f("ck_rate_windows_spent_not_negative")),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_rate_windows_token_id_tokens")),
        sa.PrimaryKeyConstraint("token_id", "route", "bucket", name=op.f("pk_rate_windows")),
    )

    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("key_digest", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index("ix_sessions_key_id", ["key_id"], unique=False)
        batch_op.create_index("ix_sessions_expires_at", ["expires_at"], unique=False)

    op.create_table(
        "tallies",
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("labels", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("metric", "labels", name=op.f("pk_tallies")),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", Identifier, nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kinds", JsonDocument, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("previous_until", UtcDateTime(), nullable=True),
        sa.Column("after_event", RowNumber, nullable=False),
        sa.Column("disabled_at", UtcDateTime(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("served_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_webhooks_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    with op.batch_alter_table("webhooks", schema=None) as batch_op:
        batch_op.create_index("ix_webhooks_tenant_id_id", ["tenant_id", "id"], unique=False)

    op.create_table(
        "webhook_deliveries",
        sa.Column("id", Identifier, nullable=False),
        sa.Column("webhook_id", Identifier, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("fleet_id", Identifier, nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("tried_at", UtcDateTime(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state <> 'pending' OR due_at IS NOT NULL", name=op.f("ck_webhook_deliveries_pending_is_due")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'dead')", name=op.f("ck_webhook_deliveries_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id_webhooks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "uq_webhook_deliveries_webhook_id_subject", ["webhook_id", "subject"], unique=True
        )
        batch_op.create_index("ix_webhook_deliveries_webhook_id_id", ["webhook_id", "id"], unique=False)
        batch_op.create_index(
            "ix_webhook_deliveries_due",
            ["webhook_id", "due_at"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index(
            "ix_webhook_deliveries_dead",
            ["webhook_id", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'dead'"),
            postgresql_where=sa.text("state = 'dead'"),
        )
        batch_op.create_index(
            "ix_webhook_deliveries_ended_at",
            ["ended_at"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NOT NULL"),
            postgresql_where=sa.text("ended_at IS NOT NULL"),
        )

    dialect = op.get_bind().dialect.name
    op.execute(_job_results(dialect))
    if dialect == "postgresql":
        op.execute(_READERS)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_NO_READERS)
    op.execute("DROP VIEW job_results")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    op.drop_table("tallies")
    op.drop_table("sessions")
    op.drop_table("rate_windows")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_jobs_account_id_linode_id",
            sqlite_where=sa.text("linode_id IS NOT NULL"),
            postgresql_where=sa.text("linode_id IS NOT NULL"),
        )
        batch_op.drop_index(
            "uq_jobs_account_id_label",
            sqlite_where=sa.text(
                "state IN ('submitted','queued','dispatched','creating','uncertain','booting','running','deleting') OR (state = 'failed' AND linode_id IS NOT NULL)"
            ),
            postgresql_where=sa.text(
                "state IN ('submitted','queued','dispatched','creating','uncertain','booting','running','deleting') OR (state = 'failed' AND linode_id IS NOT NULL)"
            ),
        )
        batch_op.drop_index("ix_jobs_tenant_id_label_id")
        batch_op.drop_index("ix_jobs_tenant_id_id")
        batch_op.drop_index(
            "ix_jobs_tenant_id_error_code_id",
            sqlite_where=sa.text("error_code IS NOT NULL"),
            postgresql_where=sa.text("error_code IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_submitted",
            sqlite_where=sa.text("state = 'submitted'"),
            postgresql_where=sa.text("state = 'submitted'"),
        )
        batch_op.drop_index(
            "ix_jobs_snoozed",
            sqlite_where=sa.text("state = 'queued' AND run_after IS NOT NULL"),
            postgresql_where=sa.text("state = 'queued' AND run_after IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_jobs_tenant_id_state_id",
            sqlite_where=sa.text("state IN ('running','failed','rejected','cancelled','deleted')"),
            postgresql_where=sa.text("state IN ('running','failed','rejected','cancelled','deleted')"),
        )
        batch_op.drop_index(
            "ix_jobs_paid_for",
            sqlite_where=sa.text("spent_microusd > 0 OR wasted_microusd > 0"),
            postgresql_where=sa.text("spent_microusd > 0 OR wasted_microusd > 0"),
        )
        batch_op.drop_index(
            "ix_jobs_released",
            sqlite_where=sa.text(
                "counted AND (state IN ('rejected','cancelled','deleted') OR (state = 'failed' AND linode_id IS NULL))"
            ),
            postgresql_where=sa.text(
                "counted AND (state IN ('rejected','cancelled','deleted') OR (state = 'failed' AND linode_id IS NULL))"
            ),
        )
        batch_op.drop_index(
            "ix_jobs_open",
            sqlite_where=sa.text("state IN ('uncertain','booting','deleting')"),
            postgresql_where=sa.text("state IN ('uncertain','booting','deleting')"),
        )
        batch_op.drop_index(
            "ix_jobs_leased",
            sqlite_where=sa.text("state = 'creating'"),
            postgresql_where=sa.text("state = 'creating'"),
        )
        batch_op.drop_index(
            "ix_jobs_granted",
            sqlite_where=sa.text("state = 'dispatched'"),
            postgresql_where=sa.text("state = 'dispatched'"),
        )
        batch_op.drop_index("ix_jobs_fleet_id_state")
        batch_op.drop_index("ix_jobs_fleet_id_position")

    op.drop_table("jobs")
    op.drop_table("tokens")
    with op.batch_alter_table("fleets", schema=None) as batch_op:
        batch_op.drop_index("uq_fleets_tenant_id_idempotency_key")
        batch_op.drop_index("ix_fleets_tenant_id_name")
        batch_op.drop_index(
            "ix_fleets_sealed",
            sqlite_where=sa.text("sealed IS NOT NULL"),
            postgresql_where=sa.text("sealed IS NOT NULL"),
        )

    op.drop_table("fleets")
    op.drop_table("api_keys")
    op.drop_table("tenant_accounts")
    op.drop_table("tenants")
    with op.batch_alter_table("job_events", schema=None) as batch_op:
        batch_op.drop_index("ix_job_events_job_id_id")

    op.drop_table("job_events")
    op.drop_table("workers")
    op.drop_table("installation")
    op.drop_table("refused_messages")
    op.drop_table("chores")
    op.drop_table("catalogs")
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.drop_index("uq_accounts_euuid")

    op.drop_table("accounts")


# Roles belong to the whole cluster, grants to one database. A role for each database, so that whoever may read the
# results of one installation may not read those of another beside it. Who may not make roles goes on without.
_READERS = """
DO $$
DECLARE reader text := left('nodewright_read_' || current_database(), 63);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = reader) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', reader);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), reader);
    EXECUTE format('GRANT SELECT ON job_results TO %I', reader);
    EXECUTE format('GRANT SELECT (id, job_id, at, event, state, actor, detail) ON job_events TO %I', reader);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'no role % for readers: % may not make one; docs/howto/results.md says how', reader, current_user;
END
$$
"""
_NO_READERS = """
DO $$
DECLARE reader text := left('nodewright_read_' || current_database(), 63);
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = reader) THEN
        EXECUTE format('DROP OWNED BY %I', reader);
        EXECUTE format('DROP ROLE %I', reader);
    END IF;
EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist THEN
    RAISE NOTICE 'the role % stays', reader;
END
$$
"""


def _job_results(dialect: str) -> str:
    return f"""
        CREATE VIEW job_results AS
        SELECT
            jobs.id, jobs.fleet_id, fleets.name AS fleet, jobs.tenant_id AS tenant, jobs.account_id AS account,
            jobs.position, jobs.label, jobs.type, jobs.region, jobs.image, jobs.state,
            jobs.linode_id, jobs.ipv4, jobs.ipv6, jobs.got_type, jobs.got_region,
            jobs.attempt AS attempts, jobs.sends, jobs.error_code, jobs.error_reason, jobs.error_field,
            jobs.hourly_microusd / 1000000.0 AS hourly_usd,
            jobs.submitted_at, jobs.dispatched_at, jobs.sent_at, jobs.created_at, jobs.running_at, jobs.ended_at,
            {_seconds(dialect, "jobs.submitted_at", "jobs.sent_at")} AS seconds_waited,
            {_seconds(dialect, "jobs.sent_at", "jobs.created_at")} AS seconds_creating,
            {_seconds(dialect, "jobs.created_at", "jobs.running_at")} AS seconds_booting,
            (jobs.spent_microusd + {_present(dialect)}) / 1000000.0 AS spent_usd,
            (jobs.wasted_microusd + CASE jobs.state WHEN 'failed' THEN {_present(dialect)} ELSE 0 END)
                / 1000000.0 AS wasted_usd,
            jobs.expires_at, jobs.changed_at
        FROM jobs JOIN fleets ON fleets.id = jobs.fleet_id AND fleets.retired_at IS NULL
    """


def _seconds(dialect: str, start: str, end: str) -> str:
    if dialect == "sqlite":
        return f"round((julianday({end}) - julianday({start})) * 86400, 3)"
    return f"round(extract(epoch FROM {end} - {start})::numeric, 3)"


def _present(dialect: str) -> str:
    """Return what a job's present instance has cost so far, each hour begun a whole one."""
    if dialect == "sqlite":
        # To the second: SQLite's own clock is asked for no less.
        age = "CAST(strftime('%s', 'now') AS INTEGER) - CAST(strftime('%s', jobs.created_at) AS INTEGER)"
        hours = f"max(({age} + 3599) / 3600, 1)"
    else:
        hours = "greatest(ceil(extract(epoch FROM now() - jobs.created_at) / 3600), 1)"
    owns = "jobs.state IN ('booting','running','failed','deleting')"
    has = f"{owns} AND jobs.linode_id IS NOT NULL AND jobs.created_at IS NOT NULL"
    return f"(CASE WHEN {has} THEN {hours} * jobs.hourly_microusd ELSE 0 END)"
