"""Versioning: the contract that is compared with the contracts of the releases that are still live."""
