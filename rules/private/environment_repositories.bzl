"""All repositories of modelgrid, the same for MODULE.bazel and WORKSPACE."""

load("//toolchains/environments:environments.bzl", "DEFAULT_ENVIRONMENT", "ENVIRONMENTS")
load(":environment_index.bzl", "environment_index")
load(":environment_python.bzl", "modelgrid_python")
load(":environment_site.bzl", "environment_site")
load(":host.bzl", "modelgrid_host")
load(":transformers.bzl", "transformers_repository")

def environment_repositories():
    """Declares `modelgrid_python`, `modelgrid_host`, and the repositories of each row of the table of environments.

    An environment `transformers-5.23` is `transformers_5_23` and, for the frozen wheels beside it, `transformers_5_23_site`;
    one without transformers is its `_site` alone. `modelgrid_environments` has all of them, a package for each: whoever
    names no environment's repositories by themselves needs this one alone. Nothing is fetched before it is used.
    """
    modelgrid_python(name = "modelgrid_python")
    modelgrid_host(name = "modelgrid_host")
    repositories = {name: name.replace("-", "_").replace(".", "_") for name in ENVIRONMENTS}
    environment_index(
        name = "modelgrid_environments",
        repositories = repositories,
        with_transformers = [name for name, environment in ENVIRONMENTS.items() if environment.transformers],
    )
    for name, environment in ENVIRONMENTS.items():
        repository = repositories[name]
        requirements = Label("//toolchains/environments:{}/requirements.in".format(environment.headers_of or name))
        environment_site(
            name = repository + "_site",
            headers = bool(environment.headers_of),
            requirements = requirements,
            shares = "@{}_site//:manifest.txt".format(repositories[environment.shares]) if environment.shares else None,
            shares_lock_of = Label("//toolchains/environments:{}/requirements.in".format(environment.shares)) if environment.shares else None,
            without = environment.without + (["transformers"] if environment.transformers else []),
        )
        if environment.transformers:
            transformers_repository(
                name = repository,
                folders = environment.folders,
                replaceable = name == DEFAULT_ENVIRONMENT,
                requirements = requirements,
            )
