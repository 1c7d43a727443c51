"""Module extension for MODULE.bazel:

```starlark
environments = use_extension("//rules:extensions.bzl", "environments")
use_repo(environments, "modelgrid_environments", "modelgrid_host", "modelgrid_python", "tools_site", "transformers_5_23", "transformers_5_23_site")
```

It makes the interpreter, the identities of this machine's devices, and the repositories of every environment of
`toolchains/environments/environments.bzl`.
"""

load("//rules/private:environment_repositories.bzl", "environment_repositories")

def _environments_impl(module_ctx):
    environment_repositories()

    # It reads nothing but its own sources, so no lock file need hold its result.
    return module_ctx.extension_metadata(reproducible = True)

environments = module_extension(
    implementation = _environments_impl,
    doc = "Makes the repositories of all environments; each is fetched when a target of it is first used.",
)
