"""The annotations, as the modules that protoc writes for a contract import them."""
