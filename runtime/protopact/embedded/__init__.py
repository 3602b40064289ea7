"""The embedded engine: durable workflows in this process, on one SQLite file."""
