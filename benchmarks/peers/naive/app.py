"""The service itself: a Celery app, one task, one table. It takes its settings from the environment.

It is meant to be good of its kind: one pooled HTTP client and one pooled engine per process, messages acknowledged
late, retries that do not end early. What it lacks is what its kind lacks: a shared budget, and any protection against
a reply that is lost.
"""

import os
import time
from functools import cache
from typing import Any

import httpx
from celery import Celery
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

QUEUE = "naive"
THREADS = int(os.environ.get("NAIVE_THREADS", "32"))
POLL_SECONDS = float(os.environ.get("NAIVE_POLL_SECONDS", "2"))

app = Celery("naive", broker=os.environ.get("NAIVE_BROKER_URL", "memory://"))
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


class Base(DeclarativeBase):
    pass


class Instance(Base):
    """One instance: a row, written when it was created and again when it runs."""

    __tablename__ = "naive_instances"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str] = mapped_column(index=True)
    status: Mapped[str]
    running_at: Mapped[float | None]


@cache
def engine() -> Any:  # noqa: ANN401 - SQLAlchemy's engine
    url = os.environ["NAIVE_DATABASE_URL"]
    if url.startswith("sqlite"):
        return create_engine(url, connect_args={"timeout": 60})
    return create_engine(url, pool_size=THREADS, max_overflow=0)


@cache
def http() -> httpx.Client:
    return httpx.Client(
        base_url=os.environ["NAIVE_API_URL"],
        headers={"Authorization": f"Bearer {os.environ['NAIVE_TOKEN']}"},
        timeout=30,
        trust_env=False,
        limits=httpx.Limits(max_connections=THREADS, max_keepalive_connections=THREADS),
    )


class Refused(Exception):  # noqa: N818 - it names the case
    """A definite no: trying again changes nothing."""


@app.task(  # type: ignore[untyped-decorator]
    autoretry_for=(httpx.HTTPError,),
    retry_backoff=True,
    retry_backoff_max=60,
    retry_jitter=True,
    max_retries=20,
)
def provision(label: str) -> None:
    """Create an instance, record it, poll until it runs, record that."""
    body = {
        "type": "g6-nanode-1",
        "region": "us-east",
        "image": "linode/debian12",
        "root_pass": "aComplexP@ssw0rd",
        "label": label,
    }
    made = _json(http().post("linode/instances", json=body))
    with Session(engine()) as session:
        session.add(Instance(id=made["id"], label=label, status=made["status"]))
        session.commit()
    _await_running(made["id"])
    with Session(engine()) as session:
        instance = session.get_one(Instance, made["id"])
        instance.status, instance.running_at = "running", time.time()
        session.commit()


def _await_running(ident: int) -> None:
    while True:
        try:
            if _json(http().get(f"linode/instances/{ident}"))["status"] == "running":
                return
        except httpx.HTTPError:
            pass  # the instance is there: only the look failed
        time.sleep(POLL_SECONDS)


def _json(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_client_error and answer.status_code not in {408, 429}:
        raise Refused(answer.text)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
