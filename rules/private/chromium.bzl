"""A headless Chromium as a repository, for the test of the report's page: `@chromium//:chromium` starts it.

```python
browser = use_extension("//rules/private:chromium.bzl", "browser", dev_dependency = True)
use_repo(browser, "chromium")
```

It is the host's own where there is one on PATH, or else Debian's packages of the host's release, by the launcher's code:
signatures checked, nothing installed, 106 MB. Where neither can be had the program says why, so that the test fails with
that and no other target does. `bazel fetch --force @chromium//...` takes a newer one.
"""

load(":environment_fetch.bzl", "run_program")

_BUILD = """\
exports_files(["chromium"], visibility = ["//visibility:public"])
"""

def _chromium_repository_impl(rctx):
    for program in rctx.attr._launcher:
        rctx.watch(program)
    rctx.report_progress("Fetching Chromium")
    run_program(rctx, rctx.attr._program, ["--out={}".format(rctx.path("."))])
    rctx.file("BUILD.bazel", _BUILD, executable = False)

chromium_repository = repository_rule(
    implementation = _chromium_repository_impl,
    doc = "A Chromium without windows. The repository is as large as 400 MB, and is fetched for the test that needs it.",
    attrs = {
        "_launcher": attr.label_list(
            default = [
                "//launcher:apt.py",
                "//launcher:errors.py",
            ],
        ),
        "_program": attr.label(
            default = "//launcher:chromium.py",
        ),
        "_python": attr.label(
            default = "@modelgrid_python//:python3",
        ),
    },
    environ = ["PATH"],
)

def _browser_impl(mctx):
    chromium_repository(name = "chromium")

    # It reads nothing but its own sources, so no lock file need hold its result.
    return mctx.extension_metadata(reproducible = True)

browser = module_extension(
    implementation = _browser_impl,
    doc = "The browser that the report's page is tested in.",
)
