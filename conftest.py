"""What tests of every folder share."""

pytest_plugins = ["tests.devserver"]
