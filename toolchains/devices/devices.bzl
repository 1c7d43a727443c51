"""`device_constraint`: the constraint that says a platform has a device."""

def device_constraint(name):
    """Makes the constraint value `name`, and the `config_setting`-like default for platforms without it.

    A setting of its own for each device, since one machine may have several.

    Args:
      name: the device's name, for example `cuda`.
    """
    native.constraint_setting(
        name = name + ".present",
        default_constraint_value = ":no_" + name,
        visibility = ["//visibility:public"],
    )
    native.constraint_value(
        name = name,
        constraint_setting = ":" + name + ".present",
        visibility = ["//visibility:public"],
    )
    native.constraint_value(
        name = "no_" + name,
        constraint_setting = ":" + name + ".present",
        visibility = ["//visibility:public"],
    )
