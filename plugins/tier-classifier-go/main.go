// The tier classifier in Go: tells the tenant and class of a request from its host, a header field, an
// API key or a claim, in the configured order. The first source that names a tenant decides; an API key
// that is present and unknown is refused at once, so that nobody falls through to a weaker source.
package main

import (
	"errors"
	"slices"
	"strings"

	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/classify"
	"github.com/tidegate/tidegate/sdk/go/config"
)

const schema = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "required": ["sources"],
  "properties": {
    "sources": {
      "type": "array", "minItems": 1, "uniqueItems": true,
      "items": {"enum": ["host", "header", "api-key", "claim"]}
    },
    "host_suffix": {"type": "string", "minLength": 1},
    "api_keys": {"type": "object", "additionalProperties": {"type": "string"}},
    "classes": {"type": "object", "additionalProperties": {"type": "string"}},
    "default_class": {"type": "string"}
  }
}`

// Positions of the inputs.
const (
	host = iota
	xTenant
	xAPIKey
	claimTenant
	claimTier
)

var inputs = []tidegate.Input{
	host:        tidegate.Header("host"),
	xTenant:     tidegate.Header("x-tenant"),
	xAPIKey:     tidegate.Secret(tidegate.Header("x-api-key")),
	claimTenant: tidegate.Claim("tenant"),
	claimTier:   tidegate.Claim("tier"),
}

type classifier struct {
	sources      []string
	hostSuffix   string
	apiKeys      map[string]string
	classes      map[string]string
	defaultClass string
}

func (c *classifier) configure(json []byte) error {
	object := config.Read(json)
	hasKeys := false
	c.sources, _ = object.Texts("sources")
	c.hostSuffix, _ = object.Text("host_suffix")
	c.apiKeys, hasKeys = object.TextMap("api_keys")
	c.classes, _ = object.TextMap("classes")
	c.defaultClass, _ = object.Text("default_class")
	if len(c.sources) == 0 {
		object.Fail("sources", "must list at least one of host, header, api-key and claim")
	}
	for i, source := range c.sources {
		if !slices.Contains([]string{"host", "header", "api-key", "claim"}, source) {
			object.Fail("sources", "may name host, header, api-key and claim, not "+source)
		}
		if slices.Contains(c.sources[:i], source) {
			object.Fail("sources", "repeats "+source)
		}
	}
	if slices.Contains(c.sources, "host") && c.hostSuffix == "" {
		object.Fail("host_suffix", `is needed by the source host, as ".example.com"`)
	}
	if slices.Contains(c.sources, "api-key") && !hasKeys {
		object.Fail("api_keys", `is needed by the source api-key, as {"KEY": "TENANT"}`)
	}
	c.hostSuffix = lower(c.hostSuffix)
	return object.Done()
}

func (c *classifier) classify(request *tidegate.Request) (classify.Classification, error) {
	for _, source := range c.sources {
		tenant, err := c.tenant(source, request)
		if err != nil {
			return classify.Classification{}, err
		}
		if tenant != "" {
			return classify.Classification{Tenant: tenant, Class: c.class(source, tenant, request)}, nil
		}
	}
	return classify.Classification{}, tidegate.NoMatch("no source names a tenant")
}

// The tenant that a source names; empty where it is silent.
func (c *classifier) tenant(source string, request *tidegate.Request) (string, error) {
	switch source {
	case "host":
		text, _ := request.Input(host)
		return c.tenantOfHost(text), nil
	case "header":
		text, _ := request.Input(xTenant)
		return text, nil
	case "claim":
		text, _ := request.Input(claimTenant)
		return text, nil
	}
	key, given := request.Input(xAPIKey)
	if !given {
		return "", nil
	}
	tenant, known := c.apiKeys[key]
	if !known {
		return "", tidegate.NoMatch("the API key is not among api_keys")
	}
	return tenant, nil
}

func (c *classifier) tenantOfHost(host string) string {
	if at := strings.LastIndexByte(host, ':'); at >= 0 && strings.Trim(host[at+1:], "0123456789") == "" {
		host = host[:at]
	}
	tenant, matches := strings.CutSuffix(lower(host), c.hostSuffix)
	if !matches {
		return ""
	}
	return tenant
}

// Letters of ASCII in lower case: host names have no others.
func lower(host string) string {
	text := []byte(host)
	for i, c := range text {
		if c >= 'A' && c <= 'Z' {
			text[i] = c + 'a' - 'A'
		}
	}
	return string(text)
}

// The class, empty where the tenant's own is to be taken.
func (c *classifier) class(source, tenant string, request *tidegate.Request) string {
	if tier, given := request.Input(claimTier); given && source == "claim" {
		return tier
	}
	if class, listed := c.classes[tenant]; listed {
		return class
	}
	return c.defaultClass
}

// A request that says nothing belongs to nobody.
func (c *classifier) selfTest() (int, error) {
	silent := &tidegate.Request{Inputs: make([]tidegate.Value, len(inputs))}
	if _, err := c.classify(silent); err == nil {
		return 0, errors.New("a request that says nothing was given a tenant")
	}
	return 1, nil
}

func init() {
	c := new(classifier)
	tidegate.Export(tidegate.Policy{
		Name:         "tier-classifier-go",
		Version:      "0.1.0",
		ConfigSchema: schema,
		Configure:    c.configure,
		SelfTest:     c.selfTest,
	})
	classify.Export(c.classify, inputs...)
}

func main() {}
