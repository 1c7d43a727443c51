"""All repositories of modelgrid, the same for MODULE.bazel and WORKSPACE."""

load("//toolchains/environments:environments.bzl", "ENVIRONMENTS")
load(":environment_python.bzl", "modelgrid_python")
load(":environment_site.bzl", "environment_site")
load(":host.bzl", "modelgrid_host")
load(":transformers.bzl", "transformers_repository")

def environment_repositories():
    """Declares `modelgrid_python`, `modelgrid_host`, and the repositories of each row of the table of environments.

    An environment `transformers-5.23` is `transformers_5_23` and, for the frozen wheels beside it, `transformers_5_23_site`;
    one without transformers is its `_site` alone. Nothing is fetched before it is used.
    """
    modelgrid_python(name = "modelgrid_python")
    modelgrid_host(name = "modelgrid_host")
    for name, environment in ENVIRONMENTS.items():
        repository = name.replace("-", "_").replace(".", "_")
        requirements = Label("//toolchains/environments:{}/requirements.in".format(name))
        environment_site(
            name = repository + "_site",
            requirements = requirements,
            without = ["transformers"] if environment.transformers else [],
        )
        if environment.transformers:
            transformers_repository(
                name = repository,
                requirements = requirements,
            )
