"""The pinned buildifier as a repository: `@buildifier//:buildifier`.

```python
lint = use_extension("//rules/private:buildifier.bzl", "lint", dev_dependency = True)
use_repo(lint, "buildifier")
```

It comes from npm, with the user's own registry settings, where there is an npm, or else from the project's releases;
both have the same files, and the hash is checked. On a host that can reach neither, or that has no build of it, a
program that says so and fails stands in its place: the test that needs it fails, and nothing else does.
"""

_VERSION = "8.2.1"

_PACKAGE = "@bazel/buildifier@" + _VERSION

_RELEASE = "https://github.com/bazelbuild/buildtools/releases/download/v{}/buildifier-{}"

# By the host's name in the releases.
_SHA256 = {
    "darwin-amd64": "9f8cffceb82f4e6722a32a021cbc9a5344b386b77b9f79ee095c61d087aaea06",
    "darwin-arm64": "cfab310ae22379e69a3b1810b433c4cd2fc2c8f4a324586dfe4cc199943b8d5a",
    "linux-amd64": "6ceb7b0ab7cf66fceccc56a027d21d9cc557a7f34af37d2101edb56b92fcfa1a",
    "linux-arm64": "3baa1cf7eb41d51f462fdd1fff3a6a4d81d757275d05b2dd5f48671284e9a1a5",
}

_ARCHITECTURES = {"aarch64": "arm64", "amd64": "amd64", "arm64": "arm64", "x86_64": "amd64"}

_NPM_SECONDS = 120

_ABSENT = """\
#!/bin/sh
echo "no buildifier {version} for {host}: neither npm nor the project's releases gave it; mend the access, then run" >&2
echo "bazel fetch --force --repo=@buildifier" >&2
exit 1
"""

_BUILD = """\
exports_files(["buildifier"], visibility = ["//visibility:public"])
"""

def _host(rctx):
    system = "darwin" if rctx.os.name.startswith("mac") else rctx.os.name
    return "{}-{}".format(system, _ARCHITECTURES.get(rctx.os.arch, rctx.os.arch))

def _from_npm(rctx, host, sha256):
    """Takes the program out of the npm package; returns whether it is the one that is pinned."""
    npm = rctx.which("npm")
    if not npm:
        return False
    packed = rctx.execute([npm, "pack", "--silent", _PACKAGE], timeout = _NPM_SECONDS)
    if packed.return_code != 0:
        return False
    archive = packed.stdout.strip().split("\n")[-1]
    rctx.extract(archive, output = "npm")
    rctx.delete(archive)
    program = rctx.path("npm/package/buildifier-" + host.replace("-", "_"))
    if not program.exists:
        return False
    checked = rctx.download(
        "file://{}".format(program),
        output = "buildifier",
        allow_fail = True,
        executable = True,
        sha256 = sha256,
    )
    rctx.delete("npm")
    return checked.success

def _from_releases(rctx, host, sha256):
    return rctx.download(
        _RELEASE.format(_VERSION, host),
        output = "buildifier",
        allow_fail = True,
        executable = True,
        sha256 = sha256,
    ).success

def _buildifier_repository_impl(rctx):
    host = _host(rctx)
    sha256 = _SHA256.get(host)
    found = sha256 and (_from_npm(rctx, host, sha256) or _from_releases(rctx, host, sha256))
    if not found:
        rctx.file("buildifier", _ABSENT.format(host = host, version = _VERSION))
    rctx.file("BUILD", _BUILD)

buildifier_repository = repository_rule(
    implementation = _buildifier_repository_impl,
    doc = "The pinned buildifier, or a program that says why it could not be had.",
    environ = ["PATH"],
)

def _lint_impl(mctx):
    buildifier_repository(name = "buildifier")

    # The version and the hashes above decide what it makes, so no lock file need hold its result.
    return mctx.extension_metadata(reproducible = True)

lint = module_extension(
    implementation = _lint_impl,
    doc = "The linters that are no Python packages.",
)
