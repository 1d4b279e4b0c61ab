"""Running JavaScript in a headless Chromium, on a folder that is served to it."""

import contextlib
import functools
import http.server
import json
import queue
import shutil
import subprocess
import tempfile
import threading
from typing import Any

from keraslm.export.to_web.page.serve import Handler

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Nothing but the page: no start page, no updates, no other host. Containers have no sandbox.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
OWN = "/.browser/"
BINARY = f"{OWN}binary"
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body>
<script type="module">
  let answer;
  try {
    const { default: run } = await import("./script.js");
    answer = { value: await run(await (await fetch("./data.json")).json()) };
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  await fetch("./answer", { method: "POST", body: JSON.stringify(answer) });
</script>"""


def find_browser():
    """Path of a Chromium, or ``None``."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def run_in_browser(
    folder, script, data=None, *, binary=b"", threads=True, language="en-US", timeout=300
):
    """Call a JavaScript function in a page of a folder that is served on this machine.

    Args:
        folder: the folder; its files are at ``/``.
        script: text of a module whose default export is a function, which may be async.
        data: its argument, as JSON.
        binary: bytes that the page finds at `BINARY`.
        threads: serve with the headers that let pages use threads.
        language: of the browser.
        timeout: seconds until giving up.

    Returns:
        what the function returns, as JSON.

    Raises:
        RuntimeError: no browser, an error in the page, or no answer in time.

    Example:
        >>> run_in_browser("web", "export default (x) => x + 1", 2)
        3
    """
    browser = find_browser()
    if browser is None:
        raise RuntimeError(f"There is no browser: none of {', '.join(NAMES)} is on the PATH.")
    answers: queue.Queue[Any] = queue.Queue()
    own = {
        OWN: ("text/html", PAGE.encode()),
        f"{OWN}script.js": ("text/javascript", script.encode()),
        f"{OWN}data.json": ("application/json", json.dumps(data).encode()),
        BINARY: ("application/octet-stream", binary),
    }
    with _served(folder, own, threads, answers) as address, tempfile.TemporaryFile() as log:
        with _open(browser, address + OWN, language, log) as process:
            answer = _wait(answers, process, timeout)
        if answer is None:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-3:]
            raise RuntimeError(f"{browser} gave no answer: {' '.join(last)}")
    if "error" in answer:
        raise RuntimeError(f"The page failed: {answer['error']}")
    return answer["value"]


class _Handler(Handler):
    """Serves the folder, the page of its own, and takes the answer."""

    def __init__(self, own, threads, answers, *args, **kwargs):
        self.own, self.threads, self.answers = own, threads, answers
        super().__init__(*args, **kwargs)

    def do_GET(self):  # noqa: N802 (the name is given)
        """A file of the folder, or one of our own."""
        if self.path not in self.own:
            super().do_GET()
            return
        kind, content = self.own[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):  # noqa: N802
        """The answer."""
        length = int(self.headers["Content-Length"])
        self.answers.put(json.loads(self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()

    def send_header(self, keyword, value):
        """All headers but those that give threads, if there shall be none."""
        if self.threads or not keyword.startswith("Cross-Origin"):
            super().send_header(keyword, value)

    def log_message(self, *args):
        """Say nothing."""


@contextlib.contextmanager
def _served(folder, own, threads, answers):
    """Address of a server for the folder."""
    handler = functools.partial(_Handler, own, threads, answers, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _open(browser, url, language, log):
    """A browser with a profile of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = (f"--user-data-dir={profile}", f"--lang={language}", f"--accept-lang={language}")
        process = subprocess.Popen(
            [browser, *FLAGS, *options, url], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _wait(answers, process, timeout):
    """The answer; ``None`` if there is none in time, or the browser ended."""
    for _ in range(timeout):
        with contextlib.suppress(queue.Empty):
            return answers.get(timeout=1)
        if process.poll() is not None:
            return None
    return None
