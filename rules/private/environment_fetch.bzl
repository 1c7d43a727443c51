"""What the repository rules of an environment share: finding its lock, and running the program that fetches wheels."""

FETCH_ATTRS = {
    "requirements": attr.label(
        doc = "The environment's `requirements.in`; its locks lie beside it, and the folder's name is the environment's.",
        allow_single_file = True,
        mandatory = True,
    ),
    "_fetch": attr.label(
        default = "//toolchains/environments:fetch.py",
    ),
    "_identity": attr.label(
        default = "@modelgrid_python//:identity.json",
    ),
    "_locks": attr.label(
        default = "//toolchains/environments:locks.py",
    ),
    "_precompile": attr.label(
        default = "//toolchains/environments:precompile.py",
    ),
    "_python": attr.label(
        default = "@modelgrid_python//:python3",
    ),
}

# A thousand seconds of a slow connection, and as much for unpacking on a slow disk.
_TIMEOUT_SECONDS = 7200

def run_program(repository_ctx, program, arguments):
    """Runs one of the workspace's Python programs as a module, from the workspace's root; fails with what it said.

    Args:
      repository_ctx: the context of a repository rule with the attribute `_python`.
      program: Label of the program.
      arguments: its arguments, a list of strings.
    """
    module = "{}.{}".format(program.package.replace("/", "."), program.name.removesuffix(".py"))
    root = str(repository_ctx.path(program)).removesuffix("/{}/{}".format(program.package, program.name))
    finished = repository_ctx.execute(
        # -E, -s: what is in the user's PYTHONPATH or home is no part of the environment.
        [repository_ctx.path(repository_ctx.attr._python), "-E", "-s", "-B", "-m", module] + arguments,
        timeout = _TIMEOUT_SECONDS,
        working_directory = root,
    )
    if finished.return_code != 0:
        fail(finished.stderr.strip() or "{} failed with status {}".format(module, finished.return_code))

def find_lock(repository_ctx, requirements):
    """Finds an environment's lock for the interpreter; fails if there is none.

    Args:
      repository_ctx: the context of a repository rule that has FETCH_ATTRS.
      requirements: Label of the environment's `requirements.in`; its locks lie beside it.

    Returns:
      The lock's Path.
    """
    identity = json.decode(repository_ctx.read(repository_ctx.attr._identity))
    folder = repository_ctx.path(requirements).dirname
    lock = folder.get_child(identity["tag"] + ".lock")
    repository_ctx.watch(lock)
    if not lock.exists:
        locks = sorted([path.basename for path in folder.readdir() if path.basename.endswith(".lock")])
        fail("{}: no lock for CPython {} on {} {}; it has {}. Name another interpreter (MODELGRID_PYTHON=/path/to/python3), or write the lock: bazel run //toolchains/environments:relock -- {}".format(
            folder.basename,
            identity["version"],
            identity["system"],
            identity["machine"],
            ", ".join(locks) if locks else "none",
            folder.basename,
        ))
    return lock

def fetch_wheels(repository_ctx, *, directory, pyc, arguments):
    """Fetches wheels of the environment's lock into a directory of the repository, and writes `manifest.txt`.

    Args:
      repository_ctx: the context of a repository rule that has FETCH_ATTRS.
      directory: name of the directory, relative to the repository's root.
      pyc: how the interpreter finds out that a compiled module is stale: `unchecked-hash` or `checked-hash`.
      arguments: further arguments of `fetch.py`.
    """
    for program in [repository_ctx.attr._locks, repository_ctx.attr._precompile]:
        repository_ctx.watch(program)
    lock = find_lock(repository_ctx, repository_ctx.attr.requirements)
    repository_ctx.report_progress("Fetching the wheels of {}".format(lock.dirname.basename))
    run_program(repository_ctx, repository_ctx.attr._fetch, [
        "--lock={}".format(lock),
        "--site={}".format(repository_ctx.path(directory)),
        "--manifest={}".format(repository_ctx.path("manifest.txt")),
        "--pyc=" + pyc,
    ] + arguments)
