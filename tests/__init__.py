"""The test-suite; see CONTRIBUTING.md for the servers it runs on."""
