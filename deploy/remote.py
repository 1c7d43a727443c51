"""Remote Execution on loopback: PostgreSQL, BuildGrid, and buildbox as the workers.

    bazel run //deploy:remote -- --worker=accel=cpu --worker=accel=cuda

An action runs on a worker that has its `exec_properties`. BuildGrid is told the properties of these workers, and
refuses at once what none of them has. The action of a worker that fell silent goes to another with the same properties;
where there is none left it is refused after a while. All state is new at each start and gone at the end, but what is in
the store.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.servers import Server, Servers, listens, run

SILENCE = 60
PATIENCE = 600

_BUILDBOX = ("casd", "run-hosttools", "worker")
_BGD = "from buildgrid.server.app.cli import cli; cli()"

_CONFIG = """\
server:
  - !channel
    address: "127.0.0.1:{port}"
    insecure-mode: true

authorization:
  method: none

connections:
  - !sql-connection &sql
    connection-string: {database}

storages:
  - !disk-storage &storage
    path: {store}

caches:
  - !lru-action-cache &actions
    storage: *storage
    max-cached-refs: 100000
    allow-updates: true
    cache-failed-actions: false

schedulers:
  - !sql-scheduler &scheduler
    sql: *sql
    storage: *storage
    action-cache: *actions
    # A worker that says nothing for so many seconds is lost, and its action given to another.
    bot-session-keepalive-timeout: {silence}
    # An action that nobody takes for so long is refused: without this it would wait for ever.
    queue-timeout-job-max-age: {{ seconds: {patience} }}
    queue-timeout-period: {{ seconds: 5 }}
    property-set: !static-property-set
      wildcard-property-keys: []
      property-labels:
{labels}

instances:
  - name: ""
    services:
      - !action-cache
        cache: *actions
      - !execution
        scheduler: *scheduler
      - !cas
        storage: *storage
      - !bytestream
        storage: *storage

# Bazel alone has a hundred calls open while it uploads; a worker whose call is refused for it ends.
thread-pool-size: 500
"""


def configuration(
    port: int, database: str, store: Path, workers: list[str], silence: int = SILENCE, patience: int = PATIENCE
) -> str:
    """Returns BuildGrid's configuration: it knows the properties of `workers`, and no others.

    Args:
      port: where it listens, on this machine.
      database: the address of its PostgreSQL.
      store: folder of what is cached.
      workers: the properties of each, such as `accel=cpu`.
      silence: seconds after which a worker that says nothing is lost.
      patience: seconds after which an action that no worker took is refused.
    """
    labels = []
    for properties in sorted(set(workers)):
        pairs = ", ".join(
            f"[{key}, {value}]" for key, _, value in (pair.partition("=") for pair in properties.split(","))
        )
        label = re.sub(r"\W", "-", properties)
        labels.append(f"        - {{ label: {label}, properties: [{pairs}] }}")
    return _CONFIG.format(
        port=port,
        database=database,
        store=store,
        labels="\n".join(labels),
        silence=silence,
        patience=patience,
    )


def _unknown(database: str, bot: str) -> str:
    """Returns what is missing for BuildGrid to know the worker."""
    import psycopg2

    connection = psycopg2.connect(database.replace("postgresql+psycopg2", "postgresql"))
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1 from bots where bot_id = %s", (bot,))
            return "" if cursor.fetchone() else "BuildGrid does not know it yet"
    finally:
        connection.close()


def _absent(socket: Path) -> str:
    return "" if socket.exists() else f"no {socket.name}"


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-c", _BGD, *arguments]


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", type=Path, required=True, help="beside it is initdb; `bazel run` gives it")
    parser.add_argument("--buildbox", type=Path, required=True, help="buildbox-worker, beside it its kin; likewise")
    parser.add_argument("--worker", action="append", help="its properties: accel=cpu, or more with commas between")
    parser.add_argument("--port", type=int, default=8990, help="and the next one, for PostgreSQL")
    parser.add_argument("--silence", type=int, default=SILENCE, help="a worker that is silent for so many s is lost")
    parser.add_argument("--patience", type=int, default=PATIENCE, help="an action waits no longer for a worker, in s")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "modelgrid")
    parser.add_argument("--folder", type=Path, default=home / "remote-server", help="the store and the logs")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    workers = options.worker or ["accel=cpu"]
    # The path of a socket must be short.
    scratch = Path(tempfile.mkdtemp(prefix="modelgrid-", dir="/var/tmp"))
    try:
        _serve(options, folder, scratch, workers)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _serve(options: argparse.Namespace, folder: Path, scratch: Path, workers: list[str]) -> None:
    casd, runner, program = (options.buildbox.absolute().with_name(f"buildbox-{it}") for it in _BUILDBOX)
    data = scratch / "database"
    database = f"postgresql+psycopg2://modelgrid@127.0.0.1:{options.port + 1}/postgres"
    # PostgreSQL refuses to be run by root; in a user namespace root is nobody, and the files are still root's.
    nobody = ["unshare", "--user"] if os.geteuid() == 0 else []
    postgres = [*nobody, str(options.postgres.absolute()), "-D", str(data), "-p", str(options.port + 1)]
    postgres += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    initdb = [*nobody, str(options.postgres.absolute().with_name("initdb")), "--no-sync", "--auth=trust"]
    initdb += ["--encoding=UTF8", "--username=modelgrid", str(data)]
    subprocess.run(initdb, check=True, cwd="/", stdout=subprocess.DEVNULL)
    settings = folder / "buildgrid.yml"
    text = configuration(options.port, database, folder / "store", workers, options.silence, options.patience)
    settings.write_text(text, encoding="utf-8")
    packages = {"PYTHONPATH": os.pathsep.join(sys.path)}
    address = f"http://127.0.0.1:{options.port}"
    with Servers(folder) as servers:
        servers.start(Server("postgresql", postgres, lambda: listens(options.port + 1)))
        migrate = _python("migrate", "apply", database)
        subprocess.run(migrate, check=True, env=os.environ | packages, stdout=subprocess.DEVNULL)
        command = _python("server", "start", str(settings))
        servers.start(Server("buildgrid", command, lambda: listens(options.port), env=packages))
        for number, properties in enumerate(workers):
            socket = scratch / f"casd-{number}.sock"
            proxy = [str(casd), f"--cas-remote={address}", f"--bind=unix:{socket}", str(folder / f"casd-{number}")]
            servers.start(Server(f"casd-{number}", proxy, functools.partial(_absent, socket)))
            worker = [str(program), f"--bots-remote={address}", f"--cas-remote=unix:{socket}"]
            worker += [f"--buildbox-run={runner}", "--graceful-shutdown-timeout=5"]
            worker += [part for pair in properties.split(",") for part in ("--platform", pair)]
            name = f"worker-{number}"
            servers.start(Server(name, [*worker, name], functools.partial(_unknown, database, name)))
        rc = folder / "remote.bazelrc"
        rc.write_text(f"common:remote --remote_executor=grpc://127.0.0.1:{options.port}\n", encoding="utf-8")
        print(f"ready: grpc://127.0.0.1:{options.port}, workers: {' '.join(workers)}")
        print(f"  `import {rc}` in user.bazelrc: bazel test --config=remote //models/...", flush=True)
        servers.wait()


if __name__ == "__main__":
    run(main)
