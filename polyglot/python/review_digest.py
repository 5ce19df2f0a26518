"""Summarises the product reviews that came since the last digest.

One query reads them, the workflow's key-value state remembers how far the last digest came, and for whom: an attempt
whose output was lost after the state had moved is made again from where it began.
"""

import json
import statistics
from collections import defaultdict

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import context, log, store
from wit_world.imports.client import Database, Value_Int64
from wit_world.imports.types import Error

INPUT = {
    "type": "object",
    "required": ["database"],
    "additionalProperties": False,
    "properties": {
        "database": {"type": "string", "description": "The name of the grant's database."},
        "at_most": {"type": "integer", "minimum": 1, "maximum": 5000, "default": 1000},
    },
}
OUTPUT = {
    "type": "object",
    "required": ["read", "after", "upto", "products"],
    "properties": {
        "read": {"type": "integer", "description": "How many reviews are new."},
        "after": {"type": "integer", "description": "Where the last digest ended."},
        "upto": {"type": "integer", "description": "Where this one ends."},
        "products": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "product": {"type": "string"},
                    "reviews": {"type": "integer"},
                    "mean": {"type": "number"},
                    "median": {"type": "number"},
                },
            },
        },
    },
}

QUERY = "select review_id, product, rating from product_review where review_id > ? order by review_id"
CURSOR = "review-digest/upto"
# Rows of one call: small enough that a page of long texts stays within what one call may carry.
PAGE = 500


def failure(code, message, retryable=False, details=None):
    """What a task raises to fail: the contract's error record."""
    return Err(Error(code, message, retryable, None, details and json.dumps(details)))


def parse(text):
    """The input, or a failure that names the field."""
    fields = json.loads(text)
    database, at_most = fields.get("database"), fields.get("at_most", 1000)
    if not isinstance(database, str) or not database:
        raise failure("input.invalid", "database: must be a name", details={"field": "database"})
    if type(at_most) is not int or not 1 <= at_most <= 5000:
        raise failure("input.invalid", "at_most: must be 1 to 5000", details={"field": "at_most"})
    return database, at_most


def reviews(database, after, at_most):
    """Yields (id, product, rating). What the host refuses is raised as the host's own error record."""
    with Database.open(database) as opened, opened.query(QUERY, [Value_Int64(after)]) as rows:
        while at_most > 0 and (page := rows.next(min(PAGE, at_most))):
            at_most -= len(page)
            for row in page:
                yield tuple(column.value for column in row)


class Entry(exports.Entry):
    def describe(self) -> str:
        return json.dumps({
            "name": "review-digest",
            "version": "0.2.0",
            "summary": "Summarises the product reviews that came since the last digest.",
            "requires": ["sql", "kv"],
            "input": INPUT,
            "output": OUTPUT,
            "defaults": {"at_most": 1000},
        })

    def run(self, input: str) -> str:
        database, at_most = parse(input)
        cursor = store.get(CURSOR)
        held = json.loads(cursor.value) if cursor else {"after": 0, "upto": 0, "key": None}
        if type(held) is int:  # as versions before 0.2 kept it
            held = {"after": held, "upto": held, "key": None}
        # Ours: an earlier attempt came this far and its output was not recorded. The same reviews again, no more.
        mine = held["key"] == (key := context.idempotency_key())
        after = upto = held["after"] if mine else held["upto"]

        ratings = defaultdict(list)
        for review, product, rating in reviews(database, after, at_most):
            if mine and review > held["upto"]:
                break
            upto = review
            ratings[product].append(rating)
        products = [
            {
                "product": product,
                "reviews": len(given),
                "mean": round(statistics.fmean(given), 2),
                "median": statistics.median(given),
            }
            for product, given in sorted(ratings.items())
        ]
        read = sum(map(len, ratings.values()))

        # Last, so that a digest that failed is made again; only if no other run was faster.
        expected = cursor.revision if cursor else None
        moved = json.dumps({"after": after, "upto": upto, "key": key}).encode()
        if read and not mine and store.compare_and_set(CURSOR, expected, moved, None) is None:
            raise failure("digest.overtaken", "another run was faster", retryable=True)
        log.write(log.Level.INFO, "the digest is made", [("reviews", str(read)), ("upto", str(upto))])
        return json.dumps({"read": read, "after": after, "upto": upto, "products": products}, ensure_ascii=False)
