"""What authors write, and what the gateway gets to see of it."""

import unittest

from tidegate_policy import (
    ALL, CachePolicy, Change, Classification, Classifier, Decision, Hash, Invalidator, PolicyError, Router, Shards,
    only_keys, purge, refresh, soft_purge,
)
from tidegate_policy import directory, log, metrics, topology
from tidegate_policy._export import DefinitionError, Exported
from tidegate_policy.testing import load


class ByKey(Router):
    inputs = ["shard-key", "header:to"]

    def route(self, request):
        if request.input("header:to"):
            return Shards([request.inputs[1]])
        key = request.inputs[0]
        return ALL if key is None else Hash(topology.hash_key(key))


class Catalog(CachePolicy, Invalidator):
    inputs = ["class", "query:category_id"]
    columns = ["category_id"]
    seen = ()

    def decide(self, request):
        return Decision(tags=[f"category:{request.inputs[1]}"])

    def invalidate(self, changes):
        self.seen = changes
        return [purge(tag=f"category:{change.new['category_id']}") for change in changes if change.new]


class Definitions(unittest.TestCase):
    def test_hooks_inputs_and_secrets_are_those_of_the_class(self):
        class Keyed(Classifier):
            inputs = ["header:x-api-key", "claim:a:b", "path"]
            secret = ["header:x-api-key"]

        hook = Exported([Keyed]).hooks["classify"]
        self.assertEqual(hook.kinds(), [("header", "x-api-key"), ("claim", "a:b"), ("path", None)])
        self.assertEqual(hook.secret, ["header:x-api-key"])

    def test_an_invalidator_names_columns(self):
        class Priced(Invalidator):
            columns = ["id", "price"]
            secret_columns = ["price"]

        hook = Exported([Priced]).hooks["invalidate"]
        self.assertEqual(hook.kinds(), [("column", "id"), ("column", "price")])
        self.assertEqual(hook.secret, ["column:price"])

    def test_one_class_may_keep_and_invalidate(self):
        self.assertEqual(list(Exported([Catalog]).hooks), ["cache-policy", "invalidate"])

    def test_several_classes_make_one_policy(self):
        self.assertEqual(list(Exported([ByKey, Catalog]).hooks), ["route", "cache-policy", "invalidate"])

    def test_a_definition_that_cannot_work_is_refused_with_what_to_change(self):
        class Odd(Router):
            inputs = ["cookie:x"]

        class Both(Router, CachePolicy):
            inputs = ["class"]

        class Hiding(Router):
            inputs = ["path"]
            secret = ["method"]

        for classes, says in [
            ([], "derive from Classifier"),
            ([Odd], "no input `cookie:x`; there are: method"),
            ([Both], "Both has one list of inputs for several hooks: write a class for each"),
            ([Hiding], "the secret `method` is not among"),
            ([ByKey, ByKey], "two classes answer route"),
        ]:
            with self.assertRaisesRegex(DefinitionError, says):
                Exported(classes)


class Loading(unittest.TestCase):
    def test_configure_gets_the_parsed_configuration(self):
        class Tiered(Classifier):
            def configure(self, config):
                only_keys(config, ["tier"])
                self.tier = config["tier"].upper()

            def classify(self, request):
                return Classification("t", self.tier)

        self.assertEqual(load(Tiered, config={"tier": "gold"}).classify(), Classification("t", "GOLD"))
        with self.assertRaisesRegex(PolicyError, "unknown key `tire`; there are: tier"):
            load(Tiered, config={"tire": "gold"})

    def test_a_policy_without_configure_takes_no_configuration(self):
        load(ByKey)
        with self.assertRaisesRegex(PolicyError, "takes no configuration: remove `config`"):
            load(ByKey, config={"x": 1})

    def test_a_failed_self_test_refuses_the_version(self):
        class Failing(ByKey):
            def self_test(self):
                raise PolicyError("other", "case 3")

        with self.assertRaisesRegex(PolicyError, "case 3"):
            load(Failing)


class Asking(unittest.TestCase):
    def test_a_router_sees_its_inputs_by_name_and_position(self):
        policy = load(ByKey)
        self.assertEqual(policy.route(), ALL)
        self.assertEqual(policy.route({"shard-key": "42"}), Hash(topology.hash_key("42")))
        self.assertEqual(policy.route({"header:to": "b"}), Shards(["b"]))

    def test_an_input_that_is_not_declared_is_an_error(self):
        class Nosy(Router):
            def route(self, request):
                return request.input("path")

        with self.assertRaisesRegex(KeyError, "`path` is not declared"):
            load(Nosy).route()

    def test_changes_have_the_declared_columns_by_name(self):
        policy = load(Catalog)
        gone = Change("products", "1", "delete", {"category_id": "1", "price": "2"}, None)
        new = Change("products", "2", "insert", None, {"category_id": "3"})
        self.assertEqual(policy.invalidate(gone, new), [purge(tag="category:3")])
        seen = policy._exported.hooks["invalidate"].policy.seen
        self.assertEqual((seen[0].old, seen[0].new), ({"category_id": "1"}, None))

    def test_an_action_has_one_target(self):
        self.assertEqual(refresh(row=("products", "42")).target, ("row", ("products", "42")))
        self.assertEqual(soft_purge(lists="products").verb, "soft-purge")
        for wrong in [{}, {"tag": "a", "lists": "b"}]:
            with self.assertRaisesRegex(TypeError, "purge takes one of: tag, row, query, lists, collection"):
                purge(**wrong)

    def test_the_gateways_functions_are_at_hand(self):
        class Curious(Classifier):
            inputs = ["header:h"]

            def classify(self, request):
                log.warn("asked")
                metrics.count("asked", 3)
                return Classification(directory.lookup("hosts", request.inputs[0]))

        policy = load(Curious, directories={"hosts": {"a": "acme"}})
        self.assertEqual(policy.classify({"header:h": "a"}).tenant, "acme")
        self.assertEqual((policy.lines, policy.counters), ([("warn", "asked")], {"asked": 3}))


if __name__ == "__main__":
    unittest.main()
