"""Serve the built book on this machine and open it: ``make serve``.

Browsers do not run WebAssembly on a page that was opened from a file. Nothing outside this machine
can reach the server.
"""

import sys
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from console import ROOT

HTML = ROOT / "_build" / "html"
PORT = 8000


def main():
    """Serve until interrupted; return the exit status."""
    if not (HTML / "index.html").is_file():
        print("The book is not built: make book", file=sys.stderr)
        return 1
    handler = partial(Quiet, directory=HTML)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", PORT), handler)
    except OSError:  # another program has the port
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"The book is at {address} until you press Ctrl+C.")
    webbrowser.open(address)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each: the browser reports what fails."""

    def log_message(self, *args):
        """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
