"""A headless Chromium, driven through chromedriver's WebDriver protocol: real keys, real layout."""

import json
import re
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager

from tests.many_processes import SECONDS

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = [
    "headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-background-networking",
    "disable-component-update", "disable-sync", "no-first-run", "hide-scrollbars",
]  # fmt: skip
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "ArrowLeft": "\ue012", "ArrowUp": "\ue013",
        "ArrowRight": "\ue014", "ArrowDown": "\ue015", "End": "\ue010", "Home": "\ue011", "Space": " "}  # fmt: skip
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the driver is on this machine


class Browser:
    """One page at a time. `address` is that of a WebDriver session."""

    def __init__(self, address):
        self.address = address

    def __call__(self, command, **values):
        """A command of the protocol; what it returns."""
        request = urllib.request.Request(
            f"{self.address}/{command}", json.dumps(values).encode(), {"Content-Type": "application/json"}
        )
        with DIRECTLY.open(request, timeout=SECONDS) as answer:
            return json.load(answer)["value"]

    def open(self, path, width=1200, height=900, dark=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        self.devtools("Emulation.setEmulatedMedia", features=scheme)
        self("url", url=path.as_uri())

    def devtools(self, command, **parameters):
        return self("goog/cdp/execute", cmd=command, params=parameters)

    def run(self, script, *arguments):
        """What a JavaScript function body returns."""
        return self("execute/sync", script=script, args=list(arguments))

    def press(self, *names):
        strokes = [{"type": kind, "value": KEYS[name]} for name in names for kind in ("keyDown", "keyUp")]
        self("actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def log(self, kind):
        """What has been logged since the last call: `browser` for the console, `performance` for events."""
        return self("se/log", type=kind)


@contextmanager
def browser(folder):
    """A Browser whose profile lies in `folder`; ended with the context."""
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(driver.stdout.readline, "")
        port = next(match[1] for line in lines if (match := re.search(r"successfully on port (\d+)", line)))
        options = {
            "binary": CHROMIUM,
            "args": [f"--{name}" for name in ARGUMENTS] + [f"--user-data-dir={folder}"],
        }
        milliseconds = 1000 * SECONDS
        capabilities = {
            "timeouts": {"script": milliseconds, "pageLoad": milliseconds},
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = Browser(f"http://127.0.0.1:{port}")("session", capabilities={"alwaysMatch": capabilities})
        opened = Browser(f"http://127.0.0.1:{port}/session/{session['sessionId']}")
        try:
            opened("url", url="about:blank")
            opened.log("performance")  # of the page that a new window shows
            yield opened
        finally:
            closing = urllib.request.Request(opened.address, method="DELETE")
            DIRECTLY.open(closing, timeout=SECONDS).close()
    finally:
        driver.terminate()
        driver.communicate()
