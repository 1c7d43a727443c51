"""nginx as a plain cache for Bazel, on loopback: `bazel run //deploy:cache`. Who has the password writes, all read.

The store has the layout of Bazel's own `--disk_cache`, so `--store=$HOME/.cache/modelgrid/disk` shares what one machine
has proven already. A blob is written beside the store and renamed into it: no reader sees half of one.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
import urllib.error
import urllib.request
from pathlib import Path

from deploy.servers import Server, ServerError, Servers, run

# Written and read back at each start; not of a size that Bazel would ever ask for by chance.
_PROBE = b"modelgrid: is this cache up?\n"

_CONFIG = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  log_format requests '$request_method $uri $status $body_bytes_sent';
  access_log {folder}/access.log requests;
  client_body_temp_path {store}/tmp;
  fastcgi_temp_path {folder}/unused;
  proxy_temp_path {folder}/unused;
  scgi_temp_path {folder}/unused;
  uwsgi_temp_path {folder}/unused;
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      return 404;
    }}
    location ~ "^/(?<kind>ac|cas)/(?<shard>[0-9a-f]{{2}})(?<rest>[0-9a-f]{{62}})$" {{
      alias {store}/$kind/$shard/$shard$rest;
      dav_methods PUT;
      create_full_put_path on;
      limit_except GET HEAD {{
        auth_basic "who writes to the cache";
        auth_basic_user_file {folder}/passwords;
      }}
    }}
  }}
}}
"""


def configure(folder: Path, store: Path, port: int) -> str:
    """Writes nginx's configuration into `folder`, and what a user.bazelrc imports; returns the password.

    It stays the same from start to start, and is in `folder`/writer.bazelrc, not in reader.bazelrc.
    """
    for path in (folder, store / "tmp", store / "ac", store / "cas"):
        path.mkdir(parents=True, exist_ok=True)
    secret = folder / "password"
    if not secret.exists():
        _write_private(secret, secrets.token_hex(16))
    password = secret.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()
    _write_private(folder / "passwords", f"ci:{{SHA}}{digest}\n")
    # The worker is not another user than the master: the store is this user's.
    user = "user root;" if os.geteuid() == 0 else ""
    config = _CONFIG.format(user=user, folder=folder, store=store, port=port)
    (folder / "nginx.conf").write_text(config, encoding="utf-8")
    (folder / "access.log").write_bytes(b"")
    reader, writer = f"http://127.0.0.1:{port}", f"http://ci:{password}@127.0.0.1:{port}"
    (folder / "reader.bazelrc").write_text(f"common:cache --remote_cache={reader}\n", encoding="utf-8")
    _write_private(folder / "writer.bazelrc", f"common:ci --remote_cache={writer}\n")
    return password


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _status(port: int, password: str, method: str) -> int:
    """Returns the HTTP status of writing or reading the probe; 0 if nothing answers."""
    url = f"http://127.0.0.1:{port}/cas/{hashlib.sha256(_PROBE).hexdigest()}"
    request = urllib.request.Request(url, data=_PROBE if method == "PUT" else None, method=method)
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"ci:{password}".encode()).decode())
    # Whatever proxy the user has, loopback is not behind it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            whole = method == "PUT" or answer.read() == _PROBE
            return int(answer.status) if whole else 0
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def missing(port: int, password: str) -> str:
    """Returns what is missing for the cache to be up: a blob can be written with the password alone, and read.

    Raises:
      ServerError: it can be written without the password.
    """
    written = _status(port, password, "PUT")
    if written not in (201, 204):
        return f"writing a blob is answered with {written}"
    if _status(port, "", "PUT") != 401:
        raise ServerError(f"the server on port {port} takes a blob without the password; is it another one?")
    read = _status(port, "", "GET")
    return "" if read == 200 else f"reading that blob is answered with {read}"


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nginx", required=True, help="the program; `bazel run` gives it")
    parser.add_argument("--port", type=int, default=8980)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "modelgrid")
    parser.add_argument("--folder", type=Path, default=home / "cache-server", help="configuration, password and logs")
    parser.add_argument("--store", type=Path, help="what is cached, by default in the folder")
    options = parser.parse_args()
    folder = options.folder.absolute()
    store = (options.store or folder / "store").absolute()
    password = configure(folder, store, options.port)
    command = [options.nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with Servers(folder) as servers:
        servers.start(Server("nginx", command, lambda: missing(options.port, password)))
        print(f"ready: http://127.0.0.1:{options.port}, store in {store}")
        print(f"  to read,  `import {folder}/reader.bazelrc` in user.bazelrc: bazel test --config=cache //models/...")
        print(
            f"  to write, `import {folder}/writer.bazelrc` in user.bazelrc: bazel test --config=ci //models/...",
            flush=True,
        )
        servers.wait()


if __name__ == "__main__":
    run(main)
