"""Configuration: what the config files say, and which database is the target."""
