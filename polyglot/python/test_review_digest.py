"""What review_digest promises, tried without a component: the bindings are generated, the host is a fake."""

import json
import unittest
from unittest import mock

from componentize_py_types import Err
from wit_world.imports import context, log, store
from wit_world.imports.client import Value_Int64, Value_Text
from wit_world.imports.types import Error

import review_digest


class Rows:
    """A query's rows, in portions as the host gives them."""

    def __init__(self, rows):
        self.rows = rows

    def next(self, most):
        portion, self.rows = self.rows[:most], self.rows[most:]
        return [[Value_Int64(at), Value_Text(product), Value_Int64(rating)] for at, product, rating in portion]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Database:
    """The database `blog` with these reviews; any other name is denied."""

    reviews = []

    @classmethod
    def open(cls, name):
        if name != "blog":
            raise Err(Error("sql.denied", "no grant covers it", False, None, None))
        return cls()

    def query(self, _, parameters):
        return Rows([review for review in self.reviews if review[0] > parameters[0].value])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class Promises(unittest.TestCase):
    def setUp(self):
        self.entries, self.lines, self.overtaken, self.key = {}, [], False, "first"
        for target, name, fake in [
            (review_digest, "Database", Database),
            (store, "get", self.entries.get),
            (store, "compare_and_set", self.compare_and_set),
            (context, "idempotency_key", lambda: self.key),
            (log, "write", lambda *line: self.lines.append(line)),
        ]:
            patch = mock.patch.object(target, name, fake)
            patch.start()
            self.addCleanup(patch.stop)
        Database.reviews = [(1, "lamp", 5), (2, "desk", 2), (3, "lamp", 2)]

    def compare_and_set(self, key, expected, value, _):
        held = self.entries.get(key)
        if self.overtaken or (held.revision if held else None) != expected:
            return None
        self.entries[key] = store.Entry(value, (expected or 0) + 1)
        return self.entries[key].revision

    def run_task(self, **fields):
        return json.loads(review_digest.Entry().run(json.dumps(fields)))

    def failure(self, **fields):
        with self.assertRaises(Err) as raised:
            self.run_task(**fields)
        return raised.exception.value

    def test_what_the_host_denies_is_the_tasks_failure_as_it_stands(self):
        self.assertEqual(self.failure(database="payroll").code, "sql.denied")

    def test_bad_input_names_its_field_and_is_not_retried(self):
        for fields, field in [({}, "database"), ({"database": "blog", "at_most": 0}, "at_most")]:
            failure = self.failure(**fields)
            self.assertEqual((failure.code, failure.retryable), ("input.invalid", False))
            self.assertEqual(json.loads(failure.details), {"field": field})

    def test_a_digest_that_another_run_overtook_is_made_again(self):
        self.overtaken = True
        failure = self.failure(database="blog")
        self.assertEqual((failure.code, failure.retryable), ("digest.overtaken", True))

    def test_each_review_is_in_one_digest(self):
        first = self.run_task(database="blog", at_most=2)
        self.assertEqual((first["read"], first["after"], first["upto"]), (2, 0, 2))
        self.key = "second"
        second = self.run_task(database="blog")
        self.assertEqual((second["read"], second["after"], second["upto"]), (1, 2, 3))
        self.key = "third"
        self.assertEqual(self.run_task(database="blog")["read"], 0)

    def test_an_attempt_after_a_lost_output_makes_the_same_digest_and_the_next_task_goes_on(self):
        lost = self.run_task(database="blog")
        Database.reviews = [*Database.reviews, (4, "rug", 1)]
        self.assertEqual(self.run_task(database="blog"), lost)
        self.key = "second"
        following = self.run_task(database="blog")
        self.assertEqual((following["read"], following["after"], following["upto"]), (1, 3, 4))

    def test_a_place_kept_by_an_earlier_version_is_understood(self):
        self.entries[review_digest.CURSOR] = store.Entry(b"2", 1)
        self.assertEqual(self.run_task(database="blog")["after"], 2)

    def test_products_are_summarised_in_order(self):
        self.assertEqual(
            self.run_task(database="blog")["products"],
            [
                {"product": "desk", "reviews": 1, "mean": 2.0, "median": 2},
                {"product": "lamp", "reviews": 2, "mean": 3.5, "median": 3.5},
            ],
        )
        self.assertEqual(self.lines[0][2], [("reviews", "3"), ("upto", "3")])


if __name__ == "__main__":
    unittest.main()
