"""A headless Chromium that is driven through its debugging pipe: no port, no network, its own profile."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
)


class Browser:
    """One page. Whatever it logs, asks for or fails in is kept in `told` and `asked`."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._rest = b""
        self._count = 0
        self.told: list[str] = []
        self.asked: list[str] = []
        self._loaded: set[str] = set()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call("Page.setLifecycleEventsEnabled", enabled=True)

    def open(self, path: Path, *, width: int = 1100, dark: bool = False, scripts: bool = True) -> None:
        """Load a file and wait until its scripts have run."""
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.resize(width)
        self.dark(dark)
        self.told, self.asked = [], []
        loader = self._call("Page.navigate", url=path.as_uri())["loaderId"]
        while loader not in self._loaded:  # it may have come before the answer
            self._next()

    def resize(self, width: int) -> None:
        """Give the window another width."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def dark(self, on: bool) -> None:
        """What the user prefers."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def value(self, expression: str) -> Any:
        """What an expression gives; a promise is waited for."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, *, clicks: int = 0) -> None:
        """A real event of the mouse: mouseMoved, mousePressed or mouseReleased."""
        button = "none" if kind == "mouseMoved" and not clicks else "left"
        self._call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(clicks > 0), clickCount=clicks
        )

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        printed = self._call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        return base64.b64decode(printed["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]  # type: ignore[no-any-return]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._receive, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.told.append(json.dumps(answer["params"]))
        if answer.get("method") == "Page.lifecycleEvent" and answer["params"]["name"] == "load":
            self._loaded.add(answer["params"]["loaderId"])
        if answer.get("method") == "Network.requestWillBeSent":
            self.asked.append(answer["params"]["request"]["url"])
        return answer


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its profile in `folder`; skips where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium")
    here, theirs = os.pipe(), os.pipe()
    # The browser reads commands from descriptor 3 and writes answers to 4.
    shell = f'exec "$@" 3<&{here[0]} 4>&{theirs[1]}'
    argv = [program, *OPTIONS, f"--user-data-dir={folder}", "--host-resolver-rules=MAP * 0.0.0.0"]
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *argv], pass_fds=(here[0], theirs[1]), stdout=errors, stderr=errors
        )
    os.close(here[0])
    os.close(theirs[1])
    try:
        yield Browser(here[1], theirs[0])
    finally:
        os.close(here[1])
        process.terminate()
        process.wait(120)
        os.close(theirs[0])
