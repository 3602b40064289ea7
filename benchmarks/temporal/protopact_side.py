"""Our side: generated code, on whatever engine the URL names.

Usage: `python protopact_side.py URL WORKLOAD COUNT` prints what `workload` says; `... URL record COUNT FILE` writes the
history of a workflow of COUNT activities, and `... URL replay REPEAT FILE` prints how long each replay of it takes.
The generated code of the contract, with google's messages, is expected on the path.
"""

from __future__ import annotations
