"""What the commands do: each takes a connection and values and returns frozen data.

Nothing here prints, and nothing here knows Typer or Rich.
"""
