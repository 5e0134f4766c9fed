// Package log writes lines into the gateway's log: at most 8 per call of a hook, each cut after 1024
// bytes. Grant: `log`, given unless taken away. A policy that
// imports it has its panics logged too.
package log

import (
	"github.com/tidegate/tidegate/sdk/go/internal/host"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

func init() { plugin.LogError = Error }

// Debug is detail for developers.
func Debug(message string) { host.Log(0, message) }

// Info is for normal events.
func Info(message string) { host.Log(1, message) }

// Warn : something is odd and the policy copes.
func Warn(message string) { host.Log(2, message) }

// Error : something is wrong.
func Error(message string) { host.Log(3, message) }
