"""Programs of Debian's packages as repositories: `@chromium//:chromium` and `@nginx//:nginx` start them.

```python
debian = use_extension("//rules/private:debian.bzl", "debian", dev_dependency = True)
use_repo(debian, "buildbox", "chromium", "nginx", "postgresql")
```

They are the host's own where it has them, or else Debian's packages, by the launcher's code: signatures checked, nothing
installed. Where neither can be had the program says why, so that the test that starts it fails with that and no other
target does. `bazel fetch --force @chromium//...` takes newer ones.
"""

load(":environment_fetch.bzl", "run_program")

_BUILD = """\
exports_files(glob(["*"], exclude = ["BUILD.bazel"], exclude_directories = 1), visibility = ["//visibility:public"])
"""

def _debian_repository_impl(rctx):
    for program in rctx.attr._launcher:
        rctx.watch(program)
    rctx.report_progress("Fetching {}".format(rctx.attr.bundle))
    run_program(rctx, rctx.attr._program, ["--out={}".format(rctx.path(".")), rctx.attr.bundle])
    rctx.file("BUILD.bazel", _BUILD, executable = False)

_debian_repository = repository_rule(
    implementation = _debian_repository_impl,
    doc = "A bundle of programs. Chromium is 106 MB to fetch and 400 MB unpacked, nginx 3 MB: each is for what first needs it.",
    attrs = {
        "bundle": attr.string(
            doc = "Name of the bundle, a row of the table in `launcher/debian.py`.",
            mandatory = True,
        ),
        "_launcher": attr.label_list(
            default = [
                "//launcher:apt.py",
                "//launcher:errors.py",
            ],
        ),
        "_program": attr.label(
            default = "//launcher:debian.py",
        ),
        "_python": attr.label(
            default = "@modelgrid_python//:python3",
        ),
    },
    environ = ["PATH"],
)

def debian_repositories():
    """Makes the repository of each bundle; none is fetched before it is needed."""
    for bundle in ["buildbox", "chromium", "nginx", "postgresql"]:
        _debian_repository(name = bundle, bundle = bundle)

def _debian_impl(mctx):
    debian_repositories()

    # It reads nothing but its own sources, so no lock file need hold its result.
    return mctx.extension_metadata(reproducible = True)

debian = module_extension(
    implementation = _debian_impl,
    doc = "The browser that the report's page is tested in, and the servers that a team's work is tested with.",
)
