"""The plugin `protoc-gen-protopact`: annotated proto files to typed Python.

A straight line, one room each, none reaching back:
`request` -> `reader` -> `contract` (frozen IR) -> `lint` -> `emit` -> `response`.
"""
