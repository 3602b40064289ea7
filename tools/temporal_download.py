"""Has Temporal's Python SDK download the dev server: `python temporal_download.py VERSION FOLDER`.

The SDK downloads only what it then starts: it is a process of its own, as it starts threads that stay.
"""

import asyncio
import sys

from temporalio.testing import WorkflowEnvironment


async def _download(version: str, folder: str) -> None:
    async with await WorkflowEnvironment.start_local(  # pyright: ignore[reportUnknownMemberType] # a type of theirs
        ip="127.0.0.1", download_dest_dir=folder, dev_server_download_version=version, dev_server_log_level="error"
    ):
        pass


if __name__ == "__main__":
    try:
        asyncio.run(_download(*sys.argv[1:]))
    except RuntimeError as error:  # what the SDK raises, whatever went wrong
        sys.exit(str(error))
