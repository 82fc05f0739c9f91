# SPDX-License-Identifier: Apache-2.0
"""Sources of type sql against real servers, which the tests start."""
import os
import subprocess

from databases import MariaDb, Postgres
from harness import BIN, SLOW, Skip, check, test


def modes_against(database):
    """The unit test of the modes speaks of SQLite; the same sentences hold of the others."""
    program = os.path.join(os.path.dirname(BIN), "connect_sql_modes_test")
    if not os.path.exists(program):
        raise Skip("there is no %s beside weir: ninja -C build" % program)
    with database() as db:
        got = subprocess.run([program], env={**os.environ, "SQL_TEST_URL": db.url}, capture_output=True, text=True, timeout=100 * SLOW)
        check(got.returncode == 0, "\n".join(line for line in (got.stdout + got.stderr).splitlines() if " OK " not in line and "RUN" not in line))


@test("every mode reads PostgreSQL: each row once, late commits and crashes included", own=True, timeout=120)
def _():
    modes_against(Postgres)


@test("every mode reads MariaDB: each row once, late commits and crashes included", own=True, timeout=120)
def _():
    modes_against(MariaDb)
