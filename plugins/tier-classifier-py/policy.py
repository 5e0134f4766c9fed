"""Says whose a request is, and which class it has: by its host, a header field, an API key or a claim of its token,
in the order the operator lists them. An API key that is not listed is refused rather than ignored: nobody gets in
by a weaker source with a wrong key."""

import string

from tidegate_policy import Classification, Classifier, PolicyError, Request, export, only_keys

SOURCES = ("host", "header", "api-key", "claim")
NAMES = {"type": "object", "additionalProperties": {"type": "string"}}
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def wrong(detail):
    return PolicyError("not-ready", f"config: {detail}")


def text(config, key):
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise wrong(f"{key} is a text")
    return value


def names(config, key):
    value = config.get(key)
    if value is not None and not (isinstance(value, dict) and all(isinstance(to, str) for to in value.values())):
        raise wrong(f"{key} maps texts to texts")
    return value


def sources_of(config):
    sources = config.get("sources")
    known = f"sources names at least one of {', '.join(SOURCES)}"
    if not isinstance(sources, list) or not sources:
        raise wrong(known)
    for source in sources:
        if source not in SOURCES:
            raise wrong(f"{known}, not {source!r}")
    if len(set(sources)) < len(sources):
        raise wrong("sources names one twice")
    return sources


class TierClassifier(Classifier):
    inputs = ["header:host", "header:x-tenant", "header:x-api-key", "claim:tenant", "claim:tier"]
    secret = ["header:x-api-key"]
    config_schema = {
        "type": "object",
        "properties": {
            "sources": {"type": "array", "items": {"enum": SOURCES}, "minItems": 1, "uniqueItems": True},
            "host_suffix": {"type": "string", "minLength": 1},
            "api_keys": NAMES,
            "classes": NAMES,
            "default_class": {"type": "string"},
        },
        "required": ["sources"],
        "additionalProperties": False,
    }

    def configure(self, config):
        only_keys(config, list(self.config_schema["properties"]))
        self.sources = sources_of(config)
        host_suffix = text(config, "host_suffix")
        api_keys = names(config, "api_keys")
        if "host" in self.sources and not host_suffix:
            raise wrong('the source host needs host_suffix, as ".example.com"')
        if "api-key" in self.sources and api_keys is None:
            raise wrong('the source api-key needs api_keys, as {"KEY": "TENANT"}')
        self.host_suffix = (host_suffix or "").translate(LOWER)
        self.api_keys = api_keys or {}
        self.classes = names(config, "classes") or {}
        self.default_class = text(config, "default_class")

    def classify(self, request):
        host, header, key, claim, tier = request.inputs
        for source in self.sources:
            if source == "host":
                tenant = self.tenant_of_host(host)
            elif source == "header":
                tenant = header
            elif source == "api-key":
                tenant = self.tenant_of_key(key)
            else:
                tenant = claim
            if tenant:
                own = tier if source == "claim" else None
                return Classification(tenant, self.classes.get(tenant, self.default_class) if own is None else own)
        raise PolicyError("no-match", "none of the sources names a tenant")

    def tenant_of_host(self, host):
        name, colon, port = (host or "").rpartition(":")
        if not colon or not all(digit in string.digits for digit in port):
            name = host or ""
        name = name.translate(LOWER)
        return name.removesuffix(self.host_suffix) if name.endswith(self.host_suffix) else None

    def tenant_of_key(self, key):
        if key is None:
            return None
        if key not in self.api_keys:
            raise PolicyError("no-match", "the API key is not a listed one")
        return self.api_keys[key]

    def self_test(self):
        nobody = Request("read", [None] * len(self.inputs), self.inputs)
        try:
            self.classify(nobody)
        except PolicyError as error:
            if error.code == "no-match":
                return 1
        raise PolicyError("other", "a request without any of its sources belongs to nobody")


export(TierClassifier)
