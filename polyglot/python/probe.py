"""Does what a task should not, one thing at a time: for the tests of what happens then."""

import encodings.idna  # noqa: F401  looked for when a name is resolved; nothing can be imported then
import json
import os
import random
import socket
import sys
import time

from wit_world import exports
from wit_world.imports import log

INPUT = {
    "type": "object",
    "required": ["deed"],
    "properties": {"deed": {"enum": ["hoard", "spin", "throw", "babble", "print", "look"]}},
}


def hoard():
    held = []
    while True:
        held.append(b"x" * (1 << 20))


def spin():
    log.write(log.Level.INFO, "spinning", [])
    while True:
        pass


def throw():
    raise TypeError("this is not an error record")


def show():
    print("to standard output")
    print("to standard error", file=sys.stderr)
    return "{}"


def look():
    found = list(os.environ) + sys.argv[1:]
    for where, reach in [
        ("files", lambda: os.listdir("/")),
        ("passwd", lambda: open("/etc/passwd").read()),
        ("network", lambda: socket.create_connection(("127.0.0.1", 80), 1)),
        ("names", lambda: socket.getaddrinfo("localhost", 80)),
    ]:
        try:
            reach()
            found.append(where)
        except OSError:
            pass
    return json.dumps({"chance": random.random(), "now_ms": int(time.time() * 1000), "found": found})


DEEDS = {
    "hoard": hoard,
    "spin": spin,
    "throw": throw,
    "babble": lambda: "this is not JSON",
    "print": show,
    "look": look,
}


class Entry(exports.Entry):
    def describe(self) -> str:
        return json.dumps({
            "name": "probe",
            "version": "0.1.0",
            "summary": "Misbehaves as told.",
            "input": INPUT,
            "output": {},
        })

    def run(self, input: str) -> str:
        return DEEDS[json.loads(input)["deed"]]()
