"""A string build setting that users may set on the command line."""

StringSettingInfo = provider(
    doc = "The value of a string build setting.",
    fields = {"value": "The string."},
)

string_setting = rule(
    implementation = lambda ctx: [StringSettingInfo(value = ctx.build_setting_value)],
    doc = "A string that a user may set by `--//label=value`.",
    build_setting = config.string(flag = True),
)
