"""The configuration: from YAML files and overrides to a checked `Config`."""
