"""A real Chromium without a window, driven by the DevTools protocol over a pipe: no port, no network, no package.

https://chromedevtools.github.io/devtools-protocol/ has the methods and events by these names.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Any

_FLAGS = (
    "--headless",
    # The test itself runs in Bazel's sandbox, in which Chromium's own cannot be made; the page is ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
_SECONDS = 120.0
_KEYS = {"Enter": ("\r", 13), " ": (" ", 32), "/": ("/", 191), "Escape": ("", 27), "Tab": ("", 9)}
_KEYS |= {"ArrowLeft": ("", 37), "ArrowUp": ("", 38), "ArrowRight": ("", 39), "ArrowDown": ("", 40)}
_KEYS |= {"End": ("", 35), "Home": ("", 36)}


def chromium() -> str:
    """Returns the program: that of the repository, or outside Bazel the one that CHROMIUM names."""
    if "CHROMIUM" in os.environ:
        return os.environ["CHROMIUM"]
    from runfiles import Runfiles  # Only a program that Bazel runs has any.

    runfiles = Runfiles.Create()
    found = runfiles.Rlocation(os.environ["CHROMIUM_RUNFILE"]) if runfiles else None
    assert found, "no Chromium among the runfiles"
    return str(found)


class BrowserError(AssertionError):
    """The browser died, did not answer, or refused a call."""


class Browser:
    """A Chromium with one page.

    Attributes:
      errors: what went to the console as an error or warning, every exception that no one caught, and every request for
        anything but the page itself, in order.
    """

    def __init__(self, program: str, folder: Path, width: int = 1440, height: int = 1000) -> None:
        """Starts it; `folder` is for its profile and its log."""
        self.errors: list[str] = []
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._events: list[str] = []
        self._log = folder / "chromium.log"
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Descriptors 3 and 4 are the protocol's; first away from them, where the pipes happen to be there already.
        high_in, high_out = os.dup2(theirs_in, 100), os.dup2(theirs_out, 101)
        for descriptor in (theirs_in, theirs_out):
            os.close(descriptor)
        self._process = os.posix_spawn(
            program,
            [
                program,
                *_FLAGS,
                f"--user-data-dir={folder / 'profile'}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            {**os.environ, "HOME": str(folder)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, high_in, 3),
                (os.POSIX_SPAWN_DUP2, high_out, 4),
                (os.POSIX_SPAWN_CLOSE, high_in),
                (os.POSIX_SPAWN_CLOSE, high_out),
            ],
        )
        os.close(high_in)
        os.close(high_out)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank", width=width, height=height)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)  # the end of the pipe ends the browser
        os.close(self._in)
        deadline = time.monotonic() + 10
        while os.waitpid(self._process, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(self._process, signal.SIGKILL)
                os.waitpid(self._process, 0)
                return
            time.sleep(0.02)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls `method` and returns its result.

        Raises:
          BrowserError: the browser refused, died, or gave no answer in two minutes.
        """
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            readable, _, _ = select.select([self._in], [], [], _SECONDS)
            more = os.read(self._in, 1 << 20) if readable else b""
            if not more:
                raise BrowserError(f"the browser is silent; its log: {self._log.read_text(errors='replace')[-2000:]}")
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        self._note(answer)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method", ""), event.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith(("file:", "about:")):
            self.errors.append(f"request for {parameters['request']['url']}")

    def open(self, address: str) -> None:
        """Opens `address` and waits until it is loaded."""
        self._events.clear()
        self.call("Page.navigate", url=address)
        while "Page.loadEventFired" not in self._events:
            self._receive()

    def run(self, script: str) -> Any:
        """Returns the value of a JavaScript expression, which may be a promise."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Presses the mouse in the middle of the first element that `selector` finds."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({find}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)
        self.settle()

    def settle(self) -> None:
        """Waits until what was set off so far is done and painted."""
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def press(self, *keys: str) -> None:
        """Presses keys, each by its name."""
        for key in keys:
            text, code = _KEYS.get(key, (key, ord(key[0].upper())))
            names = {"key": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **names, text=text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **names)

    def type(self, text: str) -> None:
        """Types `text` into what has the focus."""
        self.call("Input.insertText", text=text)

    def prefer(self, scheme: str) -> None:
        """Makes `light` or `dark` what the system prefers."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path: Path) -> None:
        """Writes what is seen to a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
