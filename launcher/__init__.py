"""Starts the Bazel that .bazelversion pins: one from PATH, or one unpacked here.

Standard library only: it runs before there is an environment to import from.
"""
