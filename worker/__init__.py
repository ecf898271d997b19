"""The worker room: Celery workers that admit, create, watch and reconcile.

Importing it does nothing; :func:`run` starts a worker.
"""

from worker.app import Notifier, build_app, run
from worker.cache import CatalogCache
from worker.config import Pace, WorkerConfig

__all__ = ["CatalogCache", "Notifier", "Pace", "WorkerConfig", "build_app", "run"]
