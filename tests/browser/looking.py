"""A tab that writes down what the browser complains about: script errors, broken loads, policy violations, dialogs."""

import re
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class Tab:
    """One page of one browser context, with what was complained about in it."""

    def __init__(self, browser, base_url, *, name="", viewport=DESKTOP, scheme="light", script=True, **more):
        self.name = name
        self.complaints = []
        self._excused = []
        self.context = browser.new_context(
            base_url=base_url,
            viewport=viewport,
            color_scheme=scheme,
            reduced_motion="reduce",
            java_script_enabled=script,
            **more,
        )
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.context.on("console", self._console)
        self.context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        self.page = self.context.new_page()
        self.page.on("dialog", self._dialog)

    def _console(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(f"console {message.type}: {message.text} ({self.page.url})")

    def _dialog(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def excuse(self, pattern):
        """Let complaints pass that fit; only a test that provokes them may."""
        self._excused.append(re.compile(pattern))

    @property
    def unexcused(self):
        """The complaints that nothing explains."""
        return [one for one in self.complaints if not any(pattern.search(one) for pattern in self._excused)]

    def keep(self, name, *, whole=False):
        """Keep a picture of what is to be seen now."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)

    def accessible(self):
        """Return what axe finds wrong with the page as it is now; an empty text: nothing."""
        found = Axe().run(self.page)
        return found.generate_report() if found.violations_count else ""

    def sideways(self):
        """Return by how many pixels the page is wider than the window, and what sticks out."""
        return self.page.evaluate(
            """() => {
                const width = document.documentElement.clientWidth;
                const beyond = document.documentElement.scrollWidth - width;
                if (beyond <= 0) return null;
                const wide = [...document.querySelectorAll("body *")].filter((one) =>
                    one.getBoundingClientRect().right > width + 1);
                return `${beyond} px: ` + wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 80)).join(" | ");
            }"""
        )

    def close(self):
        """Close the tab and forget its cookies."""
        self.context.close()
