// The hash router in Go: places rows by the hash of their shard key, as the gateway does without a
// policy; with `{"buckets": N}` by the hash of one of N buckets, so that a new shard moves whole
// buckets.
package main

import (
	"errors"
	"strconv"

	tidegate "github.com/tidegate/tidegate/sdk/go"
	"github.com/tidegate/tidegate/sdk/go/config"
	"github.com/tidegate/tidegate/sdk/go/route"
	"github.com/tidegate/tidegate/sdk/go/topology"
)

const schema = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {"buckets": {"type": "integer", "minimum": 1, "maximum": 65536}}
}`

type router struct {
	// 0: no buckets.
	buckets uint64
}

func (r *router) configure(json []byte) error {
	c := config.Read(json)
	r.buckets, _ = c.Whole("buckets", 1, 65536)
	return c.Done()
}

func (r *router) hash(key string) uint64 {
	hash := topology.HashKey(key)
	if r.buckets == 0 {
		return hash
	}
	return topology.HashKey(strconv.FormatUint(hash%r.buckets, 10))
}

func (r *router) route(request *tidegate.Request) (route.Targets, error) {
	key, addressed := request.Input(0)
	if !addressed {
		return route.AllOfTenant(), nil
	}
	return route.Hash(r.hash(key)), nil
}

func (r *router) selfTest() (int, error) {
	keys := []string{"", "1", "42", "a\u001fb"}
	for _, key := range keys {
		if topology.ShardForHash(r.hash(key)) >= topology.ShardCount() {
			return 0, errors.New("the gateway placed a key on a shard that does not exist")
		}
	}
	return len(keys), nil
}

func init() {
	r := new(router)
	tidegate.Export(tidegate.Policy{
		Name:         "hash-router-go",
		Version:      "0.1.0",
		ConfigSchema: schema,
		Configure:    r.configure,
		SelfTest:     r.selfTest,
	})
	route.Export(r.route, tidegate.ShardKey())
}

func main() {}
