#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares how weir, node and nginx frame ambiguous requests: tests/interop/framing.py [-k WORD] [-v]

A case is a stream of bytes on one connection: what is ambiguous, and an ordinary
request behind it. weir takes some requests from its front and then refuses the rest,
closes or waits. The others get just the bytes that weir took, and an ordinary request
behind them (where the connection goes on), so that it shows where they think the next one begins.

  * The others frame the same requests (method, target, body): no exceptions.
  * They accept all of them, and the one behind: but for the EXCEPTIONS below, with their reasons.

So whatever weir takes means to the others what it means to weir; what they do not agree on, weir refuses.
Then the daemon gets the whole streams, and gives as many answers as its codec says.
nginx stands in front of node, so that what node is told is how nginx understood it.
Needs node and nginx. Ends with `N passed, N failed`.
"""
import argparse
import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from ports import free_port  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../..")
BUILD = os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build"))
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
IDLE = 2.0 * SLOW
AT_ONCE = 60

END = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

# (pattern of the case's name, who refuses, why that is no matter of framing). A pattern must be needed.
UNKNOWN_METHOD = "it refuses methods that it does not know; weir answers 405 and goes on, and no framing depends on the method"
EXCEPTIONS = [
    (r"line (G-T|BREW)\\x20/a\\x20HTTP/1\.1|method with 2d", "node", UNKNOWN_METHOD),
    (r"line (G-T|BREW)\\x20/a\\x20HTTP/1\.1|method with 2d", "nginx", "node refuses it behind nginx: " + UNKNOWN_METHOD),
    (r"line TRACE\\x20/a\\x20HTTP/1\.1", "nginx", "it answers TRACE with 405 by itself, as weir does"),
    (r"line CONNECT.*", "node", "without a listener for CONNECT it closes; weir answers 405"),
    (r"line CONNECT.*", "nginx", "it is no forward proxy and answers 405 or 400; weir answers 405"),
    (r"options \*", "nginx", "it has no asterisk form and answers 400; weir answers as RFC 9110 9.3.7 has it"),
    (r"host Host:\\x20a\.\.b( in 1\.0)?", "nginx", "it refuses empty labels in Host, of which no framing depends"),
    (r"upgrade .*|h2c settings", "node", "it reads nothing behind a request that asks for an upgrade; weir does not upgrade here and goes on, "
     "as RFC 9110 7.8 allows, and nginx too"),
]


# ---- the corpus ----

class Corpus:
    def __init__(self):
        self.cases = {}

    def add(self, name, data, end=END):
        if isinstance(data, str):
            data = data.encode("latin-1")
        while name in self.cases:
            name += "'"
        self.cases[name] = data + end

    def post(self, name, fields, body=b"", version="1.1", end=END):
        """fields: whole lines, as bytes or text, with their line ends."""
        raw = lambda x: x.encode("latin-1") if isinstance(x, str) else x
        self.add(name, b"POST /p HTTP/" + version.encode() + b"\r\nHost: a\r\n" + raw(fields) + b"\r\n" + raw(body), end)


def show(b):
    return "".join(chr(c) if 0x21 <= c < 0x7f and chr(c) not in "\\" else "\\x%02x" % c for c in b)


def ordinary(c):
    c.add("plain get", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    c.add("head", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
        c.add("with a body: " + method, "%s /m HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % method)
    c.post("length", "Content-Length: 5\r\n", "hello")
    c.post("length 0", "Content-Length: 0\r\n")
    c.post("no length", "")
    c.post("chunked", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")
    c.post("two chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
    c.post("body that looks like a request", "Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED)
    c.post("chunk that looks like a request", "Transfer-Encoding: chunked\r\n",
           b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n")
    c.add("pipelined", SMUGGLED * 3)
    c.post("expect continue", "Content-Length: 2\r\nExpect: 100-continue\r\n", "ok")
    c.post("expect something else", "Content-Length: 2\r\nExpect: 200-maybe\r\n", "ok")
    c.post("close", "Content-Length: 2\r\nConnection: close\r\n", "ok")
    c.post("close, keep-alive", "Content-Length: 2\r\nConnection: close, keep-alive\r\n", "ok")


def lengths(c):
    values = ["5", "05", "+5", "-5", "5 ", " 5", "\t5", "5\t", "5,5", "5, 5", "5,6", "5;", "0x5", "5.0", "5e0", "", " ", "'5'", "\"5\"",
              "5 5", "5\x0b", "\x0c5", "\xa05", "5\x00", "\x005", "five", "4294967301", "18446744073709551621",
              "99999999999999999999999", "9223372036854775807", "9223372036854775808", "00000000000000000000005", "5_0", "5L", "٥"]
    for v in values:
        c.post("length %r" % v, b"Content-Length: " + v.encode("utf-8" if ord(max(v or "a")) > 255 else "latin-1") + b"\r\n", "hello")
    for a, b in (("5", "5"), ("5", "6"), ("6", "5"), ("0", "5"), ("5", "0"), ("5", ""), ("", "5"), ("5", "x")):
        c.post("lengths %s and %s" % (a, b), "Content-Length: %s\r\nContent-Length: %s\r\n" % (a, b), "hello")
        c.post("lengths %s and %s, other case" % (a, b), "Content-Length: %s\r\ncontent-length: %s\r\n" % (a, b), "hello")
    for v in ("5", "0", "5, 5"):
        c.add("length %s of a get" % v, "GET /g HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\nhello" % v)
    c.post("length too short for the body", "Content-Length: 3\r\n", "hello")
    c.post("length over the end", "Content-Length: 500\r\n", "hello")
    for gap in (" ", "\t", "\x0b", "\x00", "\r", "\n", "\xa0", "\x7f"):
        c.post("length with %r before the colon" % gap, "Content-Length%s: 5\r\n" % gap, "hello")
        c.post("length with %r before the name" % gap, "%sContent-Length: 5\r\n" % gap, "hello")
    for name in ("Content_Length", "Content-Length-", "Content Length", "Content-Lengt\u0068\u0000", "Content\u00adLength", "ContentLength", "Content--Length"):
        c.post("name %r" % name, "%s: 5\r\n" % name, "")


TE = ["chunked", "Chunked", "CHUNKED", "chunked ", " chunked", "\tchunked", "chunked\t", "chunked,", ",chunked", "chunked, chunked", "chunked,chunked",
      "identity", "identity, chunked", "chunked, identity", "gzip", "gzip, chunked", "chunked, gzip", "deflate", "x-chunked", "chunkedx", "xchunked",
      "chunk", "chunked;", "chunked;a=b", "chunked; q=0", "\"chunked\"", "'chunked'", "(chunked)", "chunked (x)", "", " ", "cow", "cow, chunked", "chunked, cow",
      "chunked\x0b", "\x0bchunked", "\x0cchunked", "chunked\x00", "\x00chunked", "chun\x00ked", "chunked\x7f", "chunked\xa0", "\xa0chunked", "\xffchunked",
      "ch\u00fcnked", "chunked\r", "chunked\n", "chunked\r\n ", "\r\n chunked", "\n chunked", "chun\r\n ked", "trailers, chunked", "chunked trailers",
      "0", "chunked=1", "ch unked", "c-h-u-n-k-e-d", "compress, gzip, chunked", "chunked\\", "%63hunked", "Transfer-Encoding: chunked", "\u212Ahunked"]
BODY = b"5\r\nhello\r\n0\r\n\r\n"


def codings(c):
    for v in TE:
        raw = v.encode("latin-1") if ord(max(v or "a")) < 256 else v.encode()
        line = b"Transfer-Encoding: " + raw + b"\r\n"
        c.post("coding %s" % show(raw), line, BODY)
        c.post("coding %s, length before" % show(raw), b"Content-Length: 15\r\n" + line, BODY)
        c.post("coding %s, length behind" % show(raw), line + b"Content-Length: 6\r\n", b"0\r\n\r\nX")
        c.post("coding %s, length 4" % show(raw), line + b"Content-Length: 4\r\n", BODY)
        c.post("coding %s in 1.0" % show(raw), line + b"Connection: keep-alive\r\n", BODY, version="1.0")
        c.post("coding chunked and %s" % show(raw), b"Transfer-Encoding: chunked\r\n" + line, BODY)
        c.post("coding %s and chunked" % show(raw), line + b"Transfer-Encoding: chunked\r\n", BODY)
    for gap in (" ", "\t", "\x0b", "\x00", "\r", "\n", "\r\n", "\x7f", "\xa0"):
        c.post("coding with %r before the colon" % gap, "Transfer-Encoding%s: chunked\r\n" % gap, BODY)
        c.post("coding with %r before the colon, length" % gap, "Content-Length: 15\r\nTransfer-Encoding%s: chunked\r\n" % gap, BODY)
        c.post("coding with %r before the name" % gap, "%sTransfer-Encoding: chunked\r\n" % gap, BODY)
        c.post("coding with %r behind the colon" % gap, "Transfer-Encoding:%schunked\r\n" % gap, BODY)
        c.post("coding folded into another field by %r" % gap, "X: y%sTransfer-Encoding: chunked\r\nContent-Length: 15\r\n" % gap, BODY)
    for name in ("Transfer_Encoding", "Transfer Encoding", "TransferEncoding", "Transfer-Encodin", "xTransfer-Encoding", "Transfer-Encoding-", "tRANSFER-eNCODING",
                 "Transfer-Encod\u0131ng", "Transfer-Encoding\u0000", "\"Transfer-Encoding\"", "Transfer/Encoding", "Content-Encoding", "TE"):
        c.post("name %s" % show(name.encode()), name.encode() + b": chunked\r\nContent-Length: 15\r\n", BODY)
    c.post("coding without a colon", "Transfer-Encoding chunked\r\nContent-Length: 15\r\n", BODY)
    c.post("coding hidden by connection", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", BODY)
    c.post("length hidden by connection", "Connection: Content-Length\r\nContent-Length: 15\r\n", BODY)


def chunks(c):
    te = "Transfer-Encoding: chunked\r\n"
    sizes = ["5", "05", "0005", "00000000000000005", "0000000000000000000000000000000000005", "0x5", "+5", "-5", " 5", "5 ", "\t5", "5\t", "5 ;", "5;", "5;a", "5;a=b",
             "5;a=\"b\"", "5;a=\"b;c\"", "5;a=\"b\\\"c\"", "5;a=\"\\\xff\"", "5;a=\"\xff\"", "5;a=\"b\tc\"", "5;a=\"b\rc\"", "5;a=\"b\nc\"", "5;a=\"b\"c", "5;a=\"b\";c=d", "5;a=b\"", "5;a=b c", "5;a=", "5;a=;", "5;a==b", "5;a=b=c", "5;a\"b\"", "5; a = b", "5 ; a", "5;a=\"", "5;;", "5;=b", "5;a=b;c=d", "5,a", "5 a", "5a", "5 5", "5h", "5_", "5.", "5\x00", "\x005", "5\x0b", "5\x0c",
             "5\xa0", "5;\x00", "5;\x01", "5;\x7f", "5;\xff", "5;a\rb", "5;a\nb", "5\r", "5\n", "5\r\r", "", " ", "g", "fffffffffffffffff5", "10000000000000005", "8000000000000005",
             "7fffffffffffffff", "ffffffffffffffff", "100000005", "5e0", "0b101", "5L", "٥", "5;" + "a" * 200, "5;" + "a" * 20000, "F" * 3]
    for s in sizes:
        raw = s.encode("latin-1") if ord(max(s or "a")) < 256 else s.encode()
        name = show(raw) if len(raw) < 40 else "%s… %d bytes" % (show(raw[:8]), len(raw))
        c.post("chunk size " + name, te, raw + b"\r\nhello\r\n0\r\n\r\n")
        c.post("last chunk size " + name, te, b"5\r\nhello\r\n" + raw.replace(b"5", b"0") + b"\r\n\r\n")
    for end in ("\n", "\r", "\r\r\n", "\n\r", "\r\n\r\n", " \r\n", "\r\n ", "", "x\r\n", "\x00\r\n", "\x0b", "\r\x00\n"):
        c.post("chunk size ends with %r" % end, te, "5%shello\r\n0\r\n\r\n" % end)
        c.post("chunk ends with %r" % end, te, "5\r\nhello%s0\r\n\r\n" % end)
        c.post("last chunk ends with %r" % end, te, "5\r\nhello\r\n0%s\r\n" % end)
        c.post("body ends with %r" % end, te, "5\r\nhello\r\n0\r\n%s" % end)
        c.post("extension ends with %r" % end, te, "5;a=b%shello\r\n0\r\n\r\n" % end)
        c.post("trailer ends with %r" % end, te, "5\r\nhello\r\n0\r\nX: y%s\r\n" % end)
    c.post("chunk longer than its size", te, "4\r\nhello\r\n0\r\n\r\n")
    c.post("chunk shorter than its size", te, "6\r\nhello\r\n0\r\n\r\n")
    for t in ("X: y", "X:y", "X:", "X", ":", " X: y", "X : y", "X: y\r\n z", "Content-Length: 5", "Transfer-Encoding: chunked", "Host: b", "X: \x00", "X\x00: y", "X: \x01", "X: \xff",
              "GET /smuggled HTTP/1.1", "X: y\r\nZ: w", "Content-Length: 5\r\nContent-Length: 6", "Trailer: x", "\xffX: y", "X(: y", "X: y\rZ: w", "X: y\nZ: w"):
        c.post("trailer %s" % show(t.encode("latin-1")), te, b"5\r\nhello\r\n0\r\n" + t.encode("latin-1") + b"\r\n\r\n")


def line_ends(c):
    for e in ("\n", "\r", "\r\r\n", "\n\r", "\r\n\r", "\r \n", "\x85", "\u2028", "\x0b", "\x0c", "\x00\r\n", "\r\x00\n"):
        raw, name = e.encode("utf-8" if ord(max(e)) > 255 else "latin-1"), repr(e)
        c.add("request line ends with " + name, b"GET /a HTTP/1.1" + raw + b"Host: a\r\n\r\n")
        c.add("field ends with " + name, b"GET /a HTTP/1.1\r\nHost: a" + raw + b"X: y\r\n\r\n")
        c.add("last field ends with " + name, b"GET /a HTTP/1.1\r\nHost: a" + raw + b"\r\n")
        c.add("head ends with " + name, b"GET /a HTTP/1.1\r\nHost: a\r\n" + raw)
        c.post("length behind " + name, b"X: y" + raw + b"Content-Length: 36\r\n", SMUGGLED)
        c.post("coding behind " + name, b"Content-Length: 15\r\nX: y" + raw + b"Transfer-Encoding: chunked\r\n", BODY)
        c.post("length in front of " + name, b"Content-Length: 5" + raw + b"X: y\r\n", "hello")
        c.add("before the request " + name, raw + b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        c.add("between requests " + name, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" + raw)
        c.post("behind the body " + name, "Content-Length: 5\r\n", b"hello" + raw)
    for n in (1, 2, 3, 10):
        c.add("%d empty lines before the request" % n, "\r\n" * n + "GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        c.post("%d empty lines behind the body" % n, "Content-Length: 5\r\n", "hello" + "\r\n" * n)
    for fold in ("\r\n ", "\r\n\t", "\n ", "\n\t", "\r ", "\r\n  \t "):
        c.post("folded value %r" % fold, "X: a%sb\r\nContent-Length: 5\r\n" % fold, "hello")
        c.post("folded length %r" % fold, "Content-Length:%s5\r\n" % fold, "hello")
        c.post("length in a fold %r" % fold, "X: a%sContent-Length: 5\r\n" % fold, "")
        c.add("first field folded %r" % fold, "GET /a HTTP/1.1%sHost: a\r\n\r\n" % fold)


def request_lines(c):
    rest = "\r\nHost: a\r\n\r\n"
    for line in ("GET /a HTTP/1.1 ", "GET /a  HTTP/1.1", "GET  /a HTTP/1.1", " GET /a HTTP/1.1", "\tGET /a HTTP/1.1", "GET\t/a\tHTTP/1.1", "GET /a\tHTTP/1.1", "GET\x0b/a HTTP/1.1",
                 "GET /a b HTTP/1.1", "GET /a", "GET /a ", "GET", "", "GET /a HTTP", "GET /a HTTP/", "GET /a HTTP/1", "GET /a HTTP/1.", "GET /a HTTP/1.10", "GET /a HTTP/1.01",
                 "GET /a HTTP/01.1", "GET /a HTTP/1.2", "GET /a HTTP/1.9", "GET /a HTTP/2.0", "GET /a HTTP/0.9", "GET /a HTTP/3", "GET /a http/1.1", "GET /a HTTP/1,1", "GET /a HTTP/1.1x",
                 "GET /a HTTP /1.1", "GET /a HTTPS/1.1", "GET /a HTTP/1.1 HTTP/1.1", "GET /a ICY/1.1", "GET /a HTTP/+1.1", "GET /a HTTP/1.-1", "GET /a HTTP/1.1\x00", "GET /a HTTP/1.1\r",
                 "GET HTTP/1.1", "PRI * HTTP/2.0", "HTTP/1.1 200 OK", "get /a HTTP/1.1", "Get /a HTTP/1.1", "G\u00cbT /a HTTP/1.1", "GE(T /a HTTP/1.1", "GET: /a HTTP/1.1", "G-T /a HTTP/1.1",
                 "BREW /a HTTP/1.1", "M-SEARCH * HTTP/1.1", "PROPFIND /a HTTP/1.1", "TRACE /a HTTP/1.1", "CONNECT a:80 HTTP/1.1", "CONNECT /a HTTP/1.1", "X" * 60 + " /a HTTP/1.1", "SOURCE /a ICE/1.0"):
        c.add("line %s" % show(line.encode("latin-1")), line + rest)
    for target in ("/", "//", "//a/b", "/a//b", "/a/../b", "/..", "/./a", "/%2e%2e/a", "/a?b", "/a?b?c", "/a?", "/a#b", "/#", "/a%", "/a%2", "/a%zz", "/a%00b", "/a%0d%0ab", "/a\\b", "/a\"b", "/a<b>",
                   "/a{b}", "/a|b", "/a^b", "/a`b", "/a[b]", "/a'b", "/a;b", "/a:b@c", "/a~b", "*", "a", "a/b", "?a", "", "http://a/x", "http://a", "http://a?x", "HTTP://a/x", "http://A/x", "http://b/x",
                   "http://a:80/x", "http://u@a/x", "https://a/x", "ftp://a/x", "http:///x", "http:/x", "http:x", "http//a/x", "//a:x/", "a:80", "ws://a/x", "/http://a/x", "/" + "a" * 7000,
                   "http://a/x#y", "http://a\\@b/x", "http://[::1]/x", "file:///x", "/a%20b", "/a+b", "/\xe4", "/a\x7fb", "/a\x01b", "/a\x00b", "/a\xa0b", "/a\xff"):
        name = show(target.encode("latin-1"))[:60]
        c.add("target " + name, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    c.add("options *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    c.add("options absolute", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n")


def hosts(c):
    for h in ("Host: a", "Host: a\r\nHost: a", "Host: a\r\nHost: b", "Host: a, b", "Host: a b", "Host:", "Host: ", "Host:a", "Host:\ta", "Host : a", "host: a", "HOST: A", "Host: a:80", "Host: a:", "Host: a:x",
              "Host: a:99999", "Host: a:80:80", "Host: [::1]", "Host: [::1]:80", "Host: [::1", "Host: u@a", "Host: a/b", "Host: a?b", "Host: a#b", "Host: a\\b", "Host: http://a", "Host: a\x00", "Host: a\xff", "Host: \xc3\xa4",
              "Host: a\x01", "Host: %61", "Host: a_b", "Host: -a", "Host: a.", "Host: .a", "Host: a..b", "X: y", "Host: a\r\nX-Host: b", "Host: a\r\n Host: b", "Hos\x00t: a", "Host: *", "Host: a;b", "Host: a\"b", "Host: (a)"):
        c.add("host %s" % show(h.encode("latin-1")), "GET /a HTTP/1.1\r\n%s\r\n\r\n" % h)
        c.add("host %s in 1.0" % show(h.encode("latin-1")), "GET /a HTTP/1.0\r\n%s\r\nConnection: keep-alive\r\n\r\n" % h)
    for h in ("a", "b", "A", "a:80", ""):
        c.add("absolute target, host %r" % h, "GET http://a/x HTTP/1.1\r\nHost: %s\r\n\r\n" % h)
    c.add("no field at all", "GET /a HTTP/1.1\r\n\r\n")
    c.add("no field at all in 1.0", "GET /a HTTP/1.0\r\n\r\n")


def characters(c):
    """Each byte that is no letter or digit in each place of a head."""
    for b in list(range(0x30)) + list(range(0x3a, 0x41)) + list(range(0x5b, 0x61)) + list(range(0x7b, 0x82)) + [0x85, 0xa0, 0xad, 0xc3, 0xfe, 0xff]:
        x = bytes([b])
        c.add("method with %02x" % b, b"GE" + x + b"T /a HTTP/1.1\r\nHost: a\r\n\r\n")
        c.add("target with %02x" % b, b"GET /a" + x + b"b HTTP/1.1\r\nHost: a\r\n\r\n")
        c.post("name with %02x" % b, b"X" + x + b"Y: z\r\nContent-Length: 5\r\n", "hello")
        c.post("value with %02x" % b, b"X: a" + x + b"b\r\nContent-Length: 5\r\n", "hello")
        c.post("name begins with %02x" % b, x + b"Content-Length: 5\r\n", "")
        c.post("length ends with %02x" % b, b"Content-Length: 5" + x + b"\r\n", "hello")
        c.post("length begins with %02x" % b, b"Content-Length: " + x + b"5\r\n", "hello")
        c.post("coding ends with %02x" % b, b"Transfer-Encoding: chunked" + x + b"\r\n", BODY)
        c.post("extension with %02x" % b, "Transfer-Encoding: chunked\r\n", b"5;a" + x + b"b\r\nhello\r\n0\r\n\r\n")
        c.post("chunk size ends with %02x" % b, "Transfer-Encoding: chunked\r\n", b"5" + x + b"\r\nhello\r\n0\r\n\r\n")
        c.post("trailer with %02x" % b, "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\nX: a" + x + b"b\r\n\r\n")
        c.post("trailer's name with %02x" % b, "Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\nX" + x + b"Y: a\r\n\r\n")


def versions(c):
    for keep in ("", "Connection: keep-alive\r\n", "Connection: Keep-Alive\r\n", "Connection: close\r\n", "Connection: keep-alive, close\r\n", "Connection: x\r\n", "Connection: upgrade\r\n",
                 "Connection: keep-alive\r\nConnection: close\r\n", "Connection: ,,keep-alive,,\r\n", "Connection:\r\n", "Keep-Alive: timeout=5\r\n", "Proxy-Connection: keep-alive\r\n"):
        for v in ("1.0", "1.1"):
            c.post("%s with %s" % (v, show(keep.encode())), keep + "Content-Length: 5\r\n", "hello", version=v)
            c.add("get %s with %s" % (v, show(keep.encode())), "GET /a HTTP/%s\r\nHost: a\r\n%s\r\n" % (v, keep))
    for up in ("websocket", "h2c", "TLS/1.0", "foo", "websocket, h2c"):
        c.add("upgrade to " + up, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n" % up)
        c.post("upgrade with a body to " + up, "Connection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 5\r\n" % up, "hello")
        c.add("upgrade in 1.0 to " + up, "GET /a HTTP/1.0\r\nHost: a\r\nConnection: Upgrade, keep-alive\r\nUpgrade: %s\r\n\r\n" % up)
    c.add("h2c settings", "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    c.add("http/0.9", "GET /a\r\n")
    c.add("http/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def fields(c):
    for f in ("X", "X:", ":", ": y", "X: y: z", "X:y", "X:  y  ", "X:\ty\t", "X::y", "X: \"y", "X: (y", "=: y", "X=y", "X y", "\"X\": y", "[X]: y", "X{}: y", "@: y", "X/Y: z", "X: y,", "-: y", "1: 2", "X\u00e4: y", "X: \u00e4"):
        c.post("field %s" % show(f.encode("latin-1")), f.encode("latin-1") + b"\r\nContent-Length: 5\r\n", "hello")
    c.post("90 fields", "".join("X-%d: y\r\n" % i for i in range(90)) + "Content-Length: 5\r\n", "hello")
    c.post("long value", "X: " + "y" * 6000 + "\r\nContent-Length: 5\r\n", "hello")
    c.post("long name", "X" * 3000 + ": y\r\nContent-Length: 5\r\n", "hello")


def corpus():
    c = Corpus()
    for part in (ordinary, lengths, codings, chunks, line_ends, request_lines, hosts, characters, versions, fields):
        part(c)
    return c.cases


# ---- the others ----

NGINX = """
daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  keepalive_timeout 60s; keepalive_requests 1000; client_max_body_size 1m; large_client_header_buffers 4 32k; server_tokens off;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{node}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffer_size 64k; proxy_buffers 4 64k; }}
  }}
}}
"""


class Others:
    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-interop-")
        self.node = subprocess.Popen(["node", os.path.join(HERE, "echo.js")], stdout=subprocess.PIPE, start_new_session=True)
        node = int(self.node.stdout.readline())
        nginx = free_port()
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w") as f:
            f.write(NGINX.format(dir=self.dir, port=nginx, node=node))
        self.nginx = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.dir, "-c", conf], stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", nginx)).close()
                break
            except OSError:
                subprocess.run(["sleep", "0.05"])
        self.ports = {"node": node, "nginx": nginx}
        return self

    def __exit__(self, *a):
        for p in (self.node, self.nginx):
            p.send_signal(signal.SIGKILL)
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


async def answers_to(port, stream):
    """All that comes back on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got, shut = b"", False
    try:
        writer.write(stream)
        while True:
            try:
                piece = await asyncio.wait_for(reader.read(65536), IDLE)
            except asyncio.TimeoutError:
                if shut or not writer.can_write_eof():
                    break
                writer.write_eof()
                shut = True
                continue
            if not piece:
                break
            got += piece
    except OSError:
        pass
    writer.transport.abort()
    return got


def take_answer(got):
    """(status, X-Seen or None, what is behind); None at the end. Our own servers' answers: no need to be strict."""
    head, sep, rest = got.partition(b"\r\n\r\n")
    if not sep:
        return None
    lines = head.split(b"\r\n")
    status = int(lines[0].split(b" ")[1])
    headers = {}
    for line in lines[1:]:
        k, _, v = line.partition(b":")
        headers[k.lower()] = v.strip()
    seen = json.loads(base64.b64decode(headers[b"x-seen"])) if b"x-seen" in headers else None
    if status < 200 or (seen and seen["method"] == "HEAD") or status in (204, 304):
        return status, seen, rest
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            n = int(size, 16)
            rest = rest[n + 2:]
            if n == 0:
                break
        return status, seen, rest
    return status, seen, rest[int(headers.get(b"content-length", len(rest))):]


def bare(target):
    """An absolute target's path: nginx keeps no more of it."""
    m = re.match(r"(?i)[a-z]+://[^/?#]*", target)
    if not m:
        return target
    rest = target[m.end():]
    return rest if rest.startswith("/") else "/" + rest


def requests_of(got):
    out = []
    while True:
        answer = take_answer(got)
        if answer is None:
            return out, "closed"
        status, seen, got = answer
        if status < 200:
            continue
        if seen is None:
            return out, "refused with %d" % status
        out.append((seen["method"], bare(seen["target"]), bytes.fromhex(seen["body"])))


async def ask_all(port, cases, read):
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name, stream):
        async with gate:
            return name, read(await answers_to(port, stream))
    return dict(await asyncio.gather(*(one(n, s) for n, s in cases.items())))


# ---- weir ----

def ask_codec(cases):
    given = b"".join(struct.pack(">I", len(s)) + s for s in cases.values())
    p = subprocess.run([os.path.join(BUILD, "tests/interop/http_frames")], input=given, stdout=subprocess.PIPE, check=True)
    out = {}
    for name, line in zip(cases, p.stdout.splitlines()):
        doc = json.loads(line)
        text = lambda h: bytes.fromhex(h).decode("latin-1")
        out[name] = {"requests": [(text(m), bare(text(t)), bytes.fromhex(b)) for m, t, b in doc["requests"]],
                     "used": doc["used"], "end": doc["end"]}
    assert len(out) == len(cases)
    return out


def ask_daemon(cases, weir):
    """Its codec inside a session: as many answers as requests, and one more where it refuses. Gives what is wrong."""
    from harness import Weir

    def statuses(got):
        out = []
        while True:
            answer = take_answer(got)
            if answer is None:
                return out
            out += [answer[0]] if answer[0] >= 200 else []
            got = answer[2]
    wrong = {}
    with Weir("http: { allowed_hosts: [a] }\n") as w:
        # Where there is nothing, a body is not read to its end: records are. A HEAD's answer has no body, which only its request
        # tells; a path that routing refuses is answered and the connection goes on.
        streams = {n: s.replace(b"POST /p ", b"POST /v1/topics/t/records ") for n, s in cases.items()
                   if b"HEAD " not in s and weir[n]["end"] != "The path is refused"}
        answers = asyncio.run(ask_all(w.port, streams, statuses))
    for name, got in answers.items():
        if 403 in got:
            continue  # another Host than `a`: refused before its body is read, and closed
        n, want = len(got), len(weir[name]["requests"]) + (weir[name]["end"] not in ("close", "more"))
        if n != want and not (weir[name]["end"] == "more" and n == want + 1):  # 408, or 400 for a body that was cut short
            wrong[name] = "the daemon gives %d answers, its codec %d (%s)" % (n, want, weir[name]["end"])
    return wrong


# ---- comparing ----

def exception(name, who):
    for row in EXCEPTIONS:
        if row[1] == who and re.fullmatch(row[0], name):
            return row
    return None


def taken_by(weir, cases):
    """What the others are given, and what they are to make of it: for the streams of which weir takes anything."""
    streams, want = {}, {}
    for name, w in weir.items():
        goes_on = w["end"] != "close"
        if w["requests"]:
            streams[name] = cases[name][:w["used"]] + (END if goes_on else b"")
            want[name] = w["requests"] + ([("GET", "/end", b"")] if goes_on else [])
    return streams, want


def compare(name, want, others, used):
    """What is wrong, as lines."""
    wrong = []
    for who, (seen, end) in others.items():
        apart = [i for i in range(min(len(seen), len(want))) if seen[i] != want[i]]
        if apart:
            wrong.append("request %d: weir %r, %s %r" % (apart[0], want[apart[0]], who, seen[apart[0]]))
        elif len(seen) > len(want):
            wrong.append("%s sees more: %r" % (who, seen[len(want)]))
        elif len(seen) < len(want) or end != "closed":
            row = exception(name, who)
            if row:
                used.add(row)
            else:
                wrong.append("%s accepts %d of %d: %s" % (who, len(seen), len(want), end))
    return wrong


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("-k", default="", help="cases whose name has this word")
    ap.add_argument("-v", action="store_true", help="what each makes of each case")
    ap.add_argument("--json", metavar="FILE")
    args = ap.parse_args()
    cases = {n: s for n, s in corpus().items() if args.k in n}
    weir = ask_codec(cases)
    streams, want = taken_by(weir, cases)
    with Others() as o:
        seen = {who: asyncio.run(ask_all(port, streams, requests_of)) for who, port in o.ports.items()}
    daemon = ask_daemon(cases, weir)
    failures, used = [], set()
    for name in cases:
        others = {who: all_seen[name] for who, all_seen in seen.items()} if name in want else {}
        wrong = compare(name, want.get(name), others, used)
        wrong += [daemon[name]] if name in daemon else []
        failures += [name] if wrong else []
        if wrong or args.v:
            print("%s %s" % ("FAIL" if wrong else "ok  ", name))
            for line in wrong:
                print("     " + line)
        if args.v:
            print("     weir   %r" % (weir[name],))
            for who, made in others.items():
                print("     %-6s %r" % (who, made))
    if not args.k:
        for row in EXCEPTIONS:
            if row not in used:
                failures.append("an exception is not needed: %r" % (row,))
                print("FAIL " + failures[-1])
    failed = len(failures)
    print("%d streams: weir takes something of %d" % (len(cases), len(want)))
    print("%d passed, %d failed" % (len(cases) - failed, failed))
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"passed": len(cases) - failed, "failed": failed, "failures": failures}, f)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
