"""The peer's side of a workload: DBOS on SQLite, WAL and FULL, in its synchronous style.

Usage: `python dbos_side.py WORKLOAD COUNT PATH`; prints one line of JSON: seconds, and the latencies of each workflow.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time

import sqlalchemy
from dbos import DBOS


def database(path: str) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", pool_size=20, max_overflow=20)

    @sqlalchemy.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # As DBOS configures its own engine, with WAL and FULL in addition.
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


@DBOS.step()
def add(identifier: str, number: int) -> tuple[str, int]:
    return identifier, number + 1


@DBOS.workflow()
def three(identifier: str, number: int) -> tuple[str, int]:
    for _ in range(3):
        identifier, number = add(identifier, number)
    return identifier, number


@DBOS.workflow()
def one(identifier: str, number: int) -> tuple[str, int]:
    return add(identifier, number)


def main() -> None:
    workload, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    DBOS(
        config={
            "name": "peer",
            "system_database_engine": database(path),
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    for number in range(5):
        DBOS.start_workflow(three, "warm", number).get_result()
    latencies: list[float] = []
    began = time.perf_counter()
    if workload == "conc":
        for handle in [DBOS.start_workflow(three, "id", number) for number in range(count)]:
            handle.get_result()
    else:
        workflow = three if workload == "seq" else one
        for number in range(count):
            started = time.perf_counter()
            DBOS.start_workflow(workflow, "id", number).get_result()
            latencies.append(time.perf_counter() - started)
    print(json.dumps({"seconds": time.perf_counter() - began, "latencies": latencies}))
    DBOS.destroy()


main()
