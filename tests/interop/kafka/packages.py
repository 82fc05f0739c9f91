# SPDX-License-Identifier: Apache-2.0
"""The clients of the tests and benches, fetched by the package tools of their languages into build/kafka.

Each function gives what it takes to run something and fetches it the first time; a
folder that is there whole has a file `.whole` naming what is in it. Versions are
pinned here and in java/pom.xml and go/go.mod; nothing that was fetched is committed.
"""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "../../.."))
CACHE = os.environ.get("WEIR_KAFKA_CACHE") or os.path.join(ROOT, "build", "kafka")

BROKER = "3.9.2"
JAVA_NEWEST = "4.3.1"
CONFLUENT_NEWEST = "2.16.1"
KAFKA_PYTHON = ["2.0.2", "3.0.12"]
CODECS = ["python-snappy==0.7.3", "lz4==4.4.5", "zstandard==0.25.0", "cramjam==2.14.0"]
NODE = ["kafkajs@2.2.4", "snappyjs@0.7.0", "lz4js@0.2.0", "zstd-codec@0.1.5"]
GO_TOOLCHAIN = "v0.0.1-go1.26.8.linux-amd64"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"


_one_at_a_time = threading.RLock()


class Missing(Exception):
    pass


def run(command, **more):
    p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    if p.returncode:
        raise Missing("%s\n%s" % (" ".join(command), p.stdout.decode(errors="replace")[-3000:]))
    return p.stdout.decode(errors="replace")


def folder(name, what, make):
    """CACHE/name, made by make(path) unless it holds `what` already."""
    with _one_at_a_time:
        return _folder(name, what, make)


def _folder(name, what, make):
    path = os.path.join(CACHE, name)
    mark = os.path.join(path, ".whole")
    try:
        with open(mark) as f:
            if f.read() == what:
                return path
    except FileNotFoundError:
        pass
    print("fetching %s" % what, file=sys.stderr, flush=True)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    make(path)
    with open(mark, "w") as f:
        f.write(what)
    return path


# ---- Java ----

def jars(version, profile):
    def make(path):
        run(["mvn", "-q", "-B", "-ntp", "-f", os.path.join(HERE, "java", "pom.xml"), "-P", profile, "-Dkafka=" + version, COPY,
             "-DincludeScope=runtime", "-DoutputDirectory=" + path])
    return folder("%s-%s" % (profile, version), "Kafka %s, %s" % (version, profile), make)


def broker_jars():
    return jars(BROKER, "broker")


def java_classes(version):
    """The class path of the client programs in java/, compiled against that version's jars."""
    lib = broker_jars() if version == BROKER else jars(version, "clients")
    sources = sorted(os.path.join(HERE, "java", n) for n in os.listdir(os.path.join(HERE, "java")) if n.endswith(".java"))
    def make(path):
        run(["javac", "-nowarn", "-d", path, "-cp", lib + "/*"] + sources)
    digest = hashlib.sha256()
    for s in sources:
        with open(s, "rb") as f:
            digest.update(f.read())
    out = folder("classes-" + version, "Java programs for %s, sources %s" % (version, digest.hexdigest()[:16]), make)
    return "%s:%s/*" % (out, lib)


# ---- Python ----

def python(name, packages):
    """An interpreter that has these packages."""
    def make(path):
        run(["/usr/bin/python3", "-m", "venv", path])
        run([os.path.join(path, "bin", "pip"), "install", "-q", "--disable-pip-version-check"] + packages)
    return os.path.join(folder(name, " ".join(packages), make), "bin", "python3")


# ---- Node ----

def node_modules():
    def make(path):
        run(["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", path] + NODE)
    return os.path.join(folder("node", " ".join(NODE), make), "node_modules")


# ---- Go ----

def version_of(text):
    return tuple(int(x) for x in re.findall(r"\d+", text)[:2])


def go_command():
    """A go that can build go/go.mod. One older than 1.21 knows nothing of toolchains, so the module is fetched by hand:
    go mod download checks it like any other, but leaves out the modes, and go.mod has another name in it."""
    with open(os.path.join(HERE, "go", "go.mod")) as f:
        wanted = version_of(re.search(r"^go (\S+)", f.read(), re.M).group(1))
    go = shutil.which("go") or "/usr/lib/go-1.19/bin/go"
    if not os.path.exists(go):
        raise Missing("no go")
    if version_of(run([go, "env", "GOVERSION"])) >= wanted:
        return go

    def make(path):
        with open(os.path.join(path, "go.mod"), "w") as f:
            f.write("module toolchain\n")
        env = dict(os.environ, GOFLAGS="-mod=mod -modcacherw", GOTOOLCHAIN="local", GOPATH=os.path.join(path, "path"))
        run([go, "mod", "download", "golang.org/toolchain@" + GO_TOOLCHAIN], cwd=path, env=env)
        root = os.path.join(path, "go")
        os.rename(os.path.join(path, "path/pkg/mod/golang.org/toolchain@" + GO_TOOLCHAIN), root)
        shutil.rmtree(os.path.join(path, "path"))
        for base, _, names in os.walk(root):
            for name in names:
                if name == "_go.mod":
                    os.rename(os.path.join(base, name), os.path.join(base, "go.mod"))
                elif base == root + "/bin" or base.startswith(root + "/pkg/tool"):
                    os.chmod(os.path.join(base, name), 0o755)
    return os.path.join(folder("go", "Go " + GO_TOOLCHAIN, make), "go", "bin", "go")


def go_program(name):
    out = os.path.join(CACHE, "go-programs", name)
    go = go_command()
    env = dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=readonly -buildvcs=false")
    if "/kafka/go/" in go:
        env.update(GOROOT=os.path.dirname(os.path.dirname(go)), GOTOOLCHAIN="local")
    run([go, "build", "-o", out, "./" + name], cwd=os.path.join(HERE, "go"), env=env)  # it knows what has changed
    return out
