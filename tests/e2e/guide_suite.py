# SPDX-License-Identifier: Apache-2.0
"""What README.md and docs/guide tell to type does what they say: every `sh` and `python` block, in their order."""
import os
import re
import subprocess
import sys
import tempfile
import textwrap

from harness import BIN, ROOT, SLOW, Skip, Weir, check, test, weir

# Blocks run like this; a line that goes on until Ctrl-C is given a second.
PRELUDE = """set -eo pipefail
curl() { command curl -sS --fail-with-body "$@"; }
for_a_second() { timeout -s INT 1 "$@" || [ $? = 124 ]; }
"""


def blocks(page, languages="sh|python"):
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        text = f.read()
    for m in re.finditer(r"^```(%s)\n(.*?)^```" % languages, text, re.M | re.S):
        yield text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2)


def type_in(w, page):
    with tempfile.TemporaryDirectory(prefix="weir-e2e-") as d:
        os.mkdir(os.path.join(d, "build"))
        os.symlink(BIN, os.path.join(d, "build", "weir"))
        env = dict(os.environ, PATH="%s/build:%s" % (d, os.environ["PATH"]), WEIR_SERVER=w.url)
        count = 0
        for line, language, body in blocks(page):
            if "serve --data" in body or "make " in body:
                continue
            body = body.replace("127.0.0.1:8080", w.authority)
            endless = "while True" in body
            if language == "sh":
                body = PRELUDE + re.sub(r"^(.*?)\s*#.*Ctrl-C.*$", r"for_a_second \1", body, flags=re.M)
                command = ["bash", "-c", body]
            else:
                command = [sys.executable, "-u", "-c", body]
            try:
                done = subprocess.run(command, cwd=d, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                      timeout=3 if endless else 30 * SLOW)
            except subprocess.TimeoutExpired as e:
                check(endless and e.stdout, "%s:%d does not end, or prints nothing" % (page, line))
            else:
                check(done.returncode == 0 and (done.stdout or done.stderr),
                      "%s:%d: exit %d\n%s%s" % (page, line, done.returncode, done.stdout[-2000:], done.stderr[-2000:]))
            count += 1
    check(count > 0, "%s has nothing to type" % page)


@test("what README.md tells to type works", own=True, timeout=180)
def _():
    with Weir() as w:
        type_in(w, "README.md")


@test("what the guide tells to type works, page by page", own=True, timeout=180)
def _():
    with Weir() as w:
        for page in ("start", "produce", "consume", "dead-letters", "topics"):
            type_in(w, "docs/guide/%s.md" % page)


@test("what the page about HTTP sources tells to type works", own=True, timeout=120)
def _():
    if "libcurl" not in weir("version")[1]:
        raise Skip("this weir was built without libcurl")
    with Weir() as w:
        type_in(w, "docs/guide/sources-http.md")


@test("each source that README.md and the guide show as YAML is one that weir takes", own=True)
def _():
    if "libcurl" not in weir("version")[1]:
        raise Skip("this weir was built without libcurl")
    pages = ["README.md"] + ["docs/guide/" + name for name in sorted(os.listdir(os.path.join(ROOT, "docs/guide")))]
    count = 0
    for page in pages:
        for line, _, body in blocks(page, "yaml"):
            if re.match(r"\s*- name: \S+\n\s+type:", body):
                body = "sources:\n" + textwrap.indent(textwrap.dedent(body), "  ")
            elif not re.search(r"^sources:", body, re.M):
                continue
            env = dict(os.environ, **{name: "x" for name in re.findall(r"\$\{env:(\w+)\}", body)})
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
                f.write(re.sub(r"\$\{file:[^}]*\}", "x", body))
                f.flush()
                code, out, err = weir("check", f.name, env=env)
            check(code == 0, "%s:%d: exit %d\n%s%s" % (page, line, code, out, err))
            count += 1
    check(count >= 10, "only %d blocks" % count)
