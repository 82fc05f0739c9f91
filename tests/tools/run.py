#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that each check of tools/ can fail: for every rule a small tree that breaks
it and one that does not. Ends non-zero where a check is blind or cries wolf."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
LAYERS = "src/base 0\nsrc/sys 1 base\nsrc/log 2 base sys\nsrc/cli 6 base\nsrc/cli/serve.c + log\n"
failures = []
count = 0


def tree(files):
    root = tempfile.mkdtemp(prefix="weir-tools-")
    for name, text in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    return root


def run(tool, *args, cwd=ROOT):
    return subprocess.run([os.path.join(ROOT, "tools", tool), *args], cwd=cwd, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def expect(what, done, good, text=""):
    global count
    count += 1
    if (done.returncode == 0) != good or text not in done.stdout:
        failures.append(what)
        print("FAIL %s: exit %d\n%s" % (what, done.returncode, done.stdout))


def check(tool, what, files, good, text=""):
    root = tree(files)
    try:
        expect("%s: %s" % (tool, what), run(tool, root), good, text)
    finally:
        shutil.rmtree(root)


def header(name, body="", guard=None):
    guard = guard or "WEIR_" + name.upper().replace("/", "_").replace(".", "_")
    return SPDX + "#ifndef %s\n#define %s\n%s#endif\n" % (guard, guard, body)


def layers():
    base = {"tools/layers.txt": LAYERS, "src/base/slice.h": "", "src/sys/sys.h": '#include "base/slice.h"\n'}
    check("check-layers", "downward", base, True)
    check("check-layers", "upward", {**base, "src/base/buf.c": '#include "sys/sys.h"\n'}, False, "may not include sys")
    check("check-layers", "upward in a test", {**base, "src/base/a_test.c": '#include "sys/sys.h"\n'}, False)
    check("check-layers", "unlisted", {**base, "src/cli/main.c": '#include "log/log.h"\n', "src/log/log.h": ""},
          False, "src/cli/main.c:1")
    check("check-layers", "one file may", {**base, "src/cli/serve.c": '#include "log/log.h"\n', "src/log/log.h": ""},
          True)
    check("check-layers", "not from src/", {**base, "src/sys/a.c": '#include "sys.h"\n'}, False, "not written from")
    check("check-layers", "dots", {**base, "src/sys/a.c": '#include "../base/slice.h"\n'}, False)
    check("check-layers", "no line", {**base, "src/new/a.c": ""}, False, "has no line")
    check("check-layers", "a rule upward", {**base, "tools/layers.txt": LAYERS + "src/x 0 sys\n"}, False)
    check("check-layers", "rules in a ring", {**base, "tools/layers.txt": LAYERS + "src/x 2 y\nsrc/y 2 x\n"}, False,
          "leads back")
    check("check-layers", "nothing to look at", {"tools/layers.txt": LAYERS}, False)


def headers():
    good = {"src/base/a.h": header("base/a.h", "#include <stddef.h>\nsize_t a_len(void);\n")}
    check("check-headers", "self-contained", good, True)
    check("check-headers", "needs another", {"src/base/a.h": header("base/a.h", "size_t a_len(void);\n")}, False,
          "does not compile alone")
    check("check-headers", "guard", {"src/base/a.h": header("base/a.h", guard="WEIR_B_H")}, False, "guard")
    check("check-headers", "no SPDX", {"src/base/a.h": header("base/a.h")[len(SPDX):]}, False, "SPDX")


def banned():
    def one(what, body, good=False, path="src/log/a.c", text=""):
        check("check-banned", what, {path: body}, good, text)

    one("clean", 'int f(void)\n{\n\tfile->ops->write(x); /* free(x) strcpy(a) */\n\tputs("malloc(1)");\n}\n', True)
    for name in ("strcpy", "strcat", "sprintf", "gets", "alloca", "malloc", "free", "strdup", "atoi", "assert", "strtok",
                 "open", "write", "fsync", "fdatasync", "time", "clock_gettime", "longjmp", "system", "strerror"):
        one(name, "void f(void)\n{\n\t%s(x);\n}\n" % name, text="src/log/a.c:3: " + name)
    one("state", "void f(void)\n{\n\tfsync(1);\n}\n", path="src/state/a.c")
    one("sys may", "void f(void)\n{\n\tfsync(1);\n\tclock_gettime(1, x);\n}\n", True, "src/sys/a.c")
    one("mem.c may", "void f(void)\n{\n\tfree(x);\n}\n", True, "src/base/mem.c")
    one("a test may", "void f(void)\n{\n\tfree(x);\n\tassert(1);\n}\n", True, "src/log/a_test.c")
    one("names that end so", "void f(void)\n{\n\tmem_free(x);\n\tbuf_open(x);\n\tx->close(1);\n}\n", True)
    one("excused", "void f(void)\n{\n\tfree(x); /* banned-ok: the library gave it */\n}\n", True)
    one("an excuse without a reason", "void f(void)\n{\n\tfree(x); /* banned-ok: */\n}\n")
    one("goto forward", "void f(void)\n{\n\tgoto out;\nout:\n\treturn;\n}\n", True)
    one("goto elsewhere", "void f(void)\n{\n\tgoto next;\nnext:\n\treturn;\n}\n")
    one("goto backward", "void f(void)\n{\nout:\n\tgoto out;\n}\n", text="backward")
    one("typedef struct", "typedef struct a {\n\tint b;\n} a;\n")
    one("typedef of a function", "typedef struct a *a_fn(void);\ntypedef enum b b_fn(int);\n", True)
    one("macro that returns", "#define TRY(x) do { if (x) \\\n\treturn 1; } while (0)\n", text="control flow")


def words():
    for word in ("TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK", "st" "ub"):
        check("check-words", word, {"a.c": "/* %s: later */\n" % word}, False, "a.c:1")
        check("check-words", "within a word", {"a.c": "/* a%sb */\n" % word}, True)
    check("check-words", "path", {"a.md": "see %s\n" % "/home/" "me/weir"}, False, "one machine")
    check("check-words", "conflict", {"a.c": "int a;\n" + "<" * 7 + " HEAD\n"}, False, "conflict")
    check("check-words", "blanks", {"a.c": "int a; \n"}, False, "blanks")
    check("check-words", "no newline", {"a.c": "int a;"}, False, "newline")
    check("check-words", "seeds are as they are", {"a.c": "int a;\n", "tests/fuzz/json/a": "1 "}, True)
    check("check-words", "what is built is not looked at", {"a.c": "int a;\n", "build-x/a": "1 "}, True)
    check("check-words", "excused", {"a.c": "/* %s */ // words-ok\n" % ("TO" "DO")}, True)


def docs():
    base = {"README.md": "# A\n\n[guide](docs/guide/a.md#two-words) `src/a.c`\n", "src/a.c": "",
            "docs/guide/a.md": "# Guide\n\n## Two `words`\n\n`http.listen`, `log`, `weir_a_total`, `weir_b_seconds_bucket`\n\n"
                               "```sh\nseq 3 | weir topic create x --partitions 4   # a word\n```\n",
            "docs/guide/trouble.md": "| `disk_full`, `internal` | a | b |\n",
            "docs/reference/settings.md": "| `http.listen` | text |\n| `log.readers` | number |\n",
            "docs/reference/metrics.md": "| `weir_a_total` | counter |\n| `weir_b_seconds` | histogram |\n",
            "docs/reference/errors.md": "| `disk_full` | 507 |\n| `internal` | 500 |\n",
            "docs/reference/commands.md": "# Commands\n\n## weir topic create\n\n| `-p`, `--partitions N` | n |\n\n## weir serve\n\n"}

    def one(what, page, text, good=False, says=""):
        check("check-docs", what, {**base, page: base.get(page, "") + text + "\n"}, good, says)

    check("check-docs", "all is there", base, True)
    one("a link", "README.md", "[x](docs/none.md)", says="README.md:4: the link")
    one("an anchor", "README.md", "[x](docs/guide/a.md#three)", says="no heading #three")
    one("a link in code", "README.md", "`[x](y)`", True)
    one("a file", "docs/a.md", "see `src/{a,b}.c`", says="no src/b.c")
    one("a pattern of files", "docs/a.md", "see `src/<noun>.c`", True)
    one("a setting", "docs/guide/a.md", "`http.lisen`", says="no setting http.lisen")
    one("a metric", "docs/guide/a.md", "`weir_a`", says="no metric weir_a")
    one("a metric in a block", "docs/guide/a.md", "```yaml\nexpr: weir_c == 0\n```", says="no metric weir_c")
    one("a command", "docs/guide/a.md", "```sh\nweir topics\n```", says="no command weir topics")
    one("an option", "docs/guide/a.md", "```sh\nweir topic create x --partition 3\n```", says="no option --partition")
    one("a code that is none", "docs/guide/trouble.md", "| `full` | a | b |", says="full is no error code")
    one("a code twice", "docs/guide/trouble.md", "| `internal` | a | b |", says="twice")
    one("a code without a word", "docs/reference/errors.md", "| `starting` | 503 |", says="starting is missing")
    check("check-docs", "nothing to look at", {}, False)


def hardening():
    root = tempfile.mkdtemp(prefix="weir-tools-")
    source, binary = os.path.join(root, "a.c"), os.path.join(root, "a")
    with open(source, "w", encoding="utf-8") as f:
        f.write('#include <stdio.h>\nint main(int n, char **v)\n{\n\tchar b[9];\n\t'
                'snprintf(b, (unsigned)n, "%s", v[0]);\n\treturn puts(b);\n}\n')
    full = "-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fPIE".split()
    link = ["-pie", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]

    def one(what, cflags, ldflags, good, text="", unit="libweir-a.a.p/a.c.o"):
        subprocess.run(["gcc", *cflags, source, "-o", binary, *ldflags], check=True, stderr=subprocess.DEVNULL)
        with open(os.path.join(root, "compile_commands.json"), "w", encoding="utf-8") as f:
            json.dump([{"command": "gcc -O0 -o a_test.p/a.c.o -c a.c"},
                       {"command": "gcc %s -o %s -c a.c" % (" ".join(cflags), unit)}], f, indent=1)
        expect("check-hardening: " + what, run("check-hardening", binary), good, text)

    def without(word):
        return [w for w in full if word not in w]

    one("all of it", full, link, True)
    one("nothing of weir", full, link, False, "no unit of it", unit="b_test.p/a.c.o")
    one("no PIE", without("PIE") + ["-fno-pie"], ["-no-pie"] + link[1:], False, "PIE")
    one("lazy", full, [*link[:2], "-Wl,-z,lazy", link[3]], False, "lazily")
    one("no RELRO", full, ["-pie", "-Wl,-z,norelro", "-Wl,-z,now"], False, "RELRO")
    one("executable stack", full, [*link[:3], "-Wl,-z,execstack"], False, "stack")
    one("no FORTIFY", without("FORTIFY"), link, False, "fortified")
    one("no stack protector", without("protector"), link, False, "-fstack-protector-strong")
    one("no stack clash", without("clash"), link, False, "-fstack-clash-protection")
    one("a path of its own", full, link + ["-Wl,-rpath,/tmp"], False, "path of its own")
    shutil.rmtree(root)


def counting():
    def one(what, lines, good, text):
        root = tree({"a.json": "\n".join(json.dumps(x) for x in lines) + "\n"})
        expect("count: " + what, run("count", os.path.join(root, "a.json")), good, text)
        shutil.rmtree(root)

    one("meson", [{"name": "a", "result": "OK"}, {"name": "b", "result": "SKIP"}], True, "1 passed, 0 failed")
    one("a failure", [{"result": "OK"}, {"result": "FAIL"}, {"result": "TIMEOUT"}], False, "1 passed, 2 failed")
    one("its name", [{"name": "log_test", "result": "FAIL"}, {"name": "good", "result": "OK"}], False, "failed: a: log_test\n1 passed, 1 failed")
    one("names that are told", [{"passed": 3, "failed": 2, "failures": ["sse: x y"]}], False,
        "failed: a: sse: x y\nfailed: a: 1 without a name\n3 passed, 2 failed")
    one("one test", [{"result": "FAIL"}], False, "0 passed, 1 failed")
    one("sums", [{"passed": 7, "failed": 0}], True, "7 passed, 0 failed")
    one("rubbish", ["x"], False, "0 passed, 1 failed")
    expect("count: a file that is not there", run("count", "/nonexistent"), False, "1 failed")
    expect("count: nothing", run("count"), False)


def mutants():
    def one(what, table, good, text):
        root = tree({"tests/mutants.txt": table, "src/a.c": "int a;\nint b;\nint b;\n", "src/b/c_test.c": "", "src/b/d_c_test.c": ""})
        os.mkdir(os.path.join(root, "tools"))
        tool = shutil.copy(os.path.join(ROOT, "tools", "mutants"), os.path.join(root, "tools"))
        expect("mutants: " + what, subprocess.run([tool, "--check"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                                  text=True, check=False), good, text)
        shutil.rmtree(root)

    one("applies", "# words\n[one]\nfile: src/a.c\n-int a;\n+int c;\n", True, "1 mutants, 0 do not apply")
    one("its line is gone", "[one]\nfile: src/a.c\n-int c;\n+int a;\n", False, "one: does not stand in src/a.c")
    one("its line is there twice", "[one]\nfile: src/a.c\n-int b;\n", False, "exactly once")
    one("no file", "[one]\n-int a;\n", False, "has no file")
    one("rubbish", "[one]\nfile: src/a.c\nwhat: is this\n", False, "neither")
    by = "[one]\nfile: src/a.c\nby: %s\n-int a;\n"
    one("its test", by % "b/c_test", True, "0 do not apply")
    one("its test, by the end of its name", by % "d_c_test", True, "0 do not apply")
    one("a test that two have", by % "c_test", False, "which of b/c_test, b/d_c_test?")
    one("a test that is not there", by % "b/x_test", False, "there is no such test")
    one("a path is a whole one", by % "d/c_test", False, "there is no such test")


def setup():
    expect("setup: unknown group", run("setup", "--check", "nonsense"), False, "no group")
    expect("setup: build is there", run("setup", "--check", "build"), True)


def main():
    for part in (layers, headers, banned, words, docs, hardening, counting, mutants, setup):
        part()
    if not shutil.which("clang-format-14"):
        print("skip: format needs clang-format-14")
    else:
        root = tree({"a.c": "int f(void)\n{\n\treturn 0;\n}\n", "b.c": "int f(void) {\n  return 0; }\n"})
        shutil.copy(os.path.join(ROOT, ".clang-format"), root)
        expect("format: good", run("format", "--check", os.path.join(root, "a.c")), True)
        expect("format: bad", run("format", "--check", os.path.join(root, "b.c")), False)
        shutil.rmtree(root)
    print("%d cases, %d failed" % (count, len(failures)))
    return 1 if failures else 0


sys.exit(main())
