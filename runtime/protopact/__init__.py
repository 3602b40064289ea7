"""Contract-first durable workflows: a contract in protobuf, typed Python, and an engine that survives being killed."""
