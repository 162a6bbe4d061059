"""Sample data: reproducible, at any scale, like what the application writes."""
