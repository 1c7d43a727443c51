"""`hf_drift`: the observations of all cells in two environments, side by side in one build."""

load(":settings.bzl", "StringSettingInfo")
load(":verdict_info.bzl", "VerdictInfo")
load(":vocabulary.bzl", "TIERS", "nearest")

_VERSION = 1

def _in_environment_of(setting):
    """Returns the transition to the environment that the string setting `setting` names."""

    def _select(settings, _attr):
        name = settings[setting]
        return {
            "//toolchains:environment": Label("//toolchains:" + name),
            "//toolchains:slices": Label("@modelgrid_environments//{}:slices".format(name)),
        }

    return transition(
        implementation = _select,
        inputs = [setting],
        outputs = ["//toolchains:environment", "//toolchains:slices"],
    )

_FROM = "//:from"
_TO = "//:to"

def _tiers(ctx):
    """Returns the tiers that were asked for; fails on one that there is not."""
    tiers = ctx.attr._tiers[StringSettingInfo].value.split(",")
    for tier in tiers:
        if tier not in TIERS:
            meant = nearest(tier, TIERS)
            fail("--//:tiers={}: no tier '{}'{}; write some of {}".format(
                ",".join(tiers),
                tier,
                ", did you mean '{}'?".format(meant) if meant else "",
                ",".join(TIERS),
            ))
    return tiers

def _hf_drift_impl(ctx):
    sides = []
    links = []
    for setting, target in [(ctx.attr._from, ctx.attr.before[0]), (ctx.attr._to, ctx.attr.after[0])]:
        name = setting[StringSettingInfo].value
        found = []
        for tier in _tiers(ctx):
            for observed in target[VerdictInfo].observed[tier].to_list():
                # Both sides have files of one path among the runfiles; these links keep them apart.
                link = ctx.actions.declare_file("{}/{}/{}".format(ctx.label.name, len(sides), observed.short_path))
                ctx.actions.symlink(output = link, target_file = observed)
                found.append(link)
        sides.append({"environment": name, "observed": [ctx.workspace_name + "/" + link.short_path for link in found]})
        links.extend(found)
    pairs = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(pairs, json.encode_indent({"after": sides[1], "before": sides[0], "version": _VERSION}) + "\n")
    return [DefaultInfo(files = depset([pairs]), runfiles = ctx.runfiles([pairs] + links))]

hf_drift = rule(
    implementation = _hf_drift_impl,
    doc = "Proves the models in two environments and names what their outputs came to; authoring/drift.py compares it.",
    attrs = {
        "after": attr.label(
            doc = "All verdicts, as `hf_model_index` makes them.",
            cfg = _in_environment_of(_TO),
            mandatory = True,
            providers = [VerdictInfo],
        ),
        "before": attr.label(
            doc = "The same target.",
            cfg = _in_environment_of(_FROM),
            mandatory = True,
            providers = [VerdictInfo],
        ),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
        "_from": attr.label(
            default = _FROM,
        ),
        "_tiers": attr.label(
            default = "//:tiers",
        ),
        "_to": attr.label(
            default = _TO,
        ),
    },
)
