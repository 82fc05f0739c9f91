# SPDX-License-Identifier: Apache-2.0
"""
PostgreSQL and MariaDB as tests and benches need them: a fresh server of one's own, on loopback, ended with its user. SQLite with the
same words: a file.
"""
import contextlib
import ctypes
import glob
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

from ports import free_port

SLOW = float(os.environ.get("WEIR_SLOW", "1"))


class DatabaseError(Exception):
    pass


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def account(*names):
    """The first of them that there is."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in names if name in known), names[0])


class Database:
    """A server over a directory in /tmp. `kill` and `start` again find what was committed."""
    user, name = None, None

    def __init__(self):
        self.dir, self.process = tempfile.mkdtemp(prefix="weir-db-"), None
        self.port = free_port()
        self.log = open(os.path.join(self.dir, "server.log"), "ab")
        try:
            if os.getuid() == 0:
                shutil.chown(self.dir, self.user)
            self.prepare()
            self.start()
            self.made()
        except BaseException:
            self.close()
            raise

    def as_user(self):
        """These servers refuse to run as root."""
        if os.getuid() != 0:
            return die_with_parent
        who = pwd.getpwnam(self.user)

        def drop():
            os.initgroups(self.user, who.pw_gid)
            os.setgid(who.pw_gid)
            os.setuid(who.pw_uid)
            die_with_parent()
        return drop

    def run(self, *command, **more):
        got = subprocess.run(command, capture_output=True, text=True, preexec_fn=self.as_user(), cwd=self.dir, timeout=120 * SLOW, **more)
        if got.returncode:
            raise DatabaseError("%s: %s%s" % (command[0], got.stdout, got.stderr))
        return got.stdout

    def launch(self):
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, cwd=self.dir,
                                        preexec_fn=self.as_user(), start_new_session=True)

    def start(self):
        """Again where it ends at once: after a kill its children may hold the directory for a moment."""
        end = time.monotonic() + 60 * SLOW
        self.launch()
        while not self.answers():
            if time.monotonic() > end:
                raise DatabaseError("%s does not start: %s" % (self.name, self.log_text()[-2000:]))
            time.sleep(0.1)
            if self.process.poll() is not None:
                self.launch()

    def log_text(self):
        """What the server has said so far."""
        with open(os.path.join(self.dir, "server.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def kill(self):
        """As a crash does it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Postgres(Database):
    user, name = "postgres", "PostgreSQL"

    @staticmethod
    def find(program):
        found = shutil.which(program) or max(glob.glob("/usr/lib/postgresql/*/bin/" + program), default=None)
        if not found:
            raise DatabaseError("there is no %s: tools/setup test" % program)
        return found

    @property
    def url(self):
        return "postgresql://postgres@127.0.0.1:%d/t" % self.port

    def prepare(self):
        self.run(self.find("initdb"), "-D", self.dir + "/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")

    def command(self):
        return [self.find("postgres"), "-D", self.dir + "/data", "-p", str(self.port), "-k", self.dir, "-c", "listen_addresses=127.0.0.1",
                "-c", "max_connections=200"]

    def answers(self):
        return subprocess.run([self.find("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0

    def made(self):
        self.sql("CREATE DATABASE t", database="postgres")

    @staticmethod
    def series(first, last):
        """A table of whole numbers x."""
        return "(SELECT generate_series(%d, %d) AS x) AS g" % (first, last)

    def sql(self, text, database="t"):
        """Rows as lists of texts."""
        out = self.run(self.find("psql"), "-qAtX", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U",
                       "postgres", "-d", database, input=text)
        return [line.split("\t") for line in out.splitlines()]


class MariaDb(Database):
    user, name = account("mysql", "nobody"), "MariaDB"  # the package of the server alone makes no account

    @property
    def url(self):
        return "mysql://w:pw@127.0.0.1:%d/t" % self.port

    def prepare(self):
        for program in ("mariadbd", "mariadb-install-db", "mariadb"):
            if not shutil.which(program):
                raise DatabaseError("there is no %s: tools/setup test" % program)
        self.run("mariadb-install-db", "--no-defaults", "--datadir=" + self.dir + "/data", "--auth-root-authentication-method=normal",
                 "--skip-test-db", "--tmpdir=" + self.dir)

    def command(self):
        return ["mariadbd", "--no-defaults", "--datadir=" + self.dir + "/data", "--port=%d" % self.port, "--socket=" + self.dir + "/sock",
                "--bind-address=127.0.0.1", "--pid-file=" + self.dir + "/pid", "--tmpdir=" + self.dir, "--innodb-buffer-pool-size=64M"]

    def answers(self):
        return subprocess.run(["mariadb", "--no-defaults", "-S", self.dir + "/sock", "-uroot", "-e", "SELECT 1"],
                              capture_output=True).returncode == 0

    def made(self):
        self.sql("CREATE DATABASE t; CREATE USER w@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO w@'%'; "
                 "DROP USER IF EXISTS ''@'localhost'", database="mysql")

    @staticmethod
    def series(first, last):
        return "(SELECT seq AS x FROM seq_%d_to_%d) AS g" % (first, last)

    def sql(self, text, database="t"):
        out = self.run("mariadb", "--no-defaults", "-NB", "-S", self.dir + "/sock", "-uroot", database, input=text)
        return [line.split("\t") for line in out.splitlines()]


class Sqlite:
    name = "SQLite"

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-db-")
        self.path = os.path.join(self.dir, "t.db")
        self.sql("PRAGMA journal_mode = WAL")

    @property
    def url(self):
        return "sqlite://" + self.path

    @staticmethod
    def series(first, last):
        return "(WITH RECURSIVE s(x) AS (SELECT %d UNION ALL SELECT x + 1 FROM s WHERE x < %d) SELECT x FROM s) AS g" % (first, last)

    def sql(self, text):
        with contextlib.closing(sqlite3.connect(self.path, timeout=60 * SLOW, isolation_level=None)) as c:
            if text.startswith("SELECT"):
                return [[str(v) for v in row] for row in c.execute(text)]
            c.executescript(text)
            return []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)
