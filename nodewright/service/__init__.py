"""The HTTP service: fleets and jobs under ``/v1``, health, metrics, and a page for people."""

from nodewright.service.app import ServiceDeps, create_app

__all__ = ["ServiceDeps", "create_app"]
