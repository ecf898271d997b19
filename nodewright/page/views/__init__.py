"""The views: each reads what one page shows, and renders it as named parts."""

from collections.abc import Mapping
from typing import Final

from nodewright.page.shown import View
from nodewright.page.views.fleet import show_fleet
from nodewright.page.views.fleets import show_fleets
from nodewright.page.views.job import show_job
from nodewright.page.views.jobs import show_jobs
from nodewright.page.views.limits import show_limits
from nodewright.page.views.system import show_system

VIEWS: Final[Mapping[str, View]] = {
    "/": show_fleets,
    "/fleets/{ref}": show_fleet,
    "/jobs": show_jobs,
    "/jobs/{job_id}": show_job,
    "/limits": show_limits,
    "/system": show_system,
}
"""Each page's path, and what shows it."""
