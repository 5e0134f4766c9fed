package policytest_test

import (
	"testing"

	"github.com/tidegate/tidegate/sdk/go/directory"
	"github.com/tidegate/tidegate/sdk/go/log"
	"github.com/tidegate/tidegate/sdk/go/metrics"
	"github.com/tidegate/tidegate/sdk/go/policytest"
	"github.com/tidegate/tidegate/sdk/go/topology"
)

func TestAPolicySpeaksToTheGatewayOfTheTest(t *testing.T) {
	gateway := policytest.Use(t, policytest.Gateway{
		Shards:      []string{"a", "b"},
		Regions:     map[string]string{"b": "eu"},
		Directories: map[string]map[string]string{"homes": {"acme": "b"}},
	})
	log.Info("hello")
	metrics.Add("asked", 2)
	if number, found := topology.ShardNamed("b"); !found || number != 1 {
		t.Error(number, found)
	}
	if _, found := topology.ShardNamed("c"); found {
		t.Error("found a shard that is not there")
	}
	if shards := topology.ShardsInRegion("eu"); len(shards) != 1 || shards[0] != 1 {
		t.Error(shards)
	}
	if home, found := directory.Lookup("homes", "acme"); !found || home != "b" {
		t.Error(home, found)
	}
	if topology.ShardForHash(topology.HashKey("42")) >= topology.ShardCount() {
		t.Error("no such shard")
	}
	if len(gateway.Logged) != 1 || gateway.Counted["asked"] != 2 {
		t.Error(gateway)
	}
}

func TestAskGivesInputsByPosition(t *testing.T) {
	request := policytest.Ask("42", nil)
	if text, present := request.Input(0); text != "42" || !present {
		t.Error(text, present)
	}
	if _, present := request.Input(1); present {
		t.Error("an absent input is present")
	}
}
