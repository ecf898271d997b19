"""The HTTP service: fleets and jobs under ``/v1``, health and metrics. ``app`` puts it together with the page."""

from nodewright.service.deps import ServiceDeps

__all__ = ["ServiceDeps"]
