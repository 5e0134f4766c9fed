// Package lower writes what the answers of all exported functions have in common.
package lower

import (
	"github.com/tidegate/tidegate/sdk/go/internal/abi"
	"github.com/tidegate/tidegate/sdk/go/internal/plugin"
)

// Refusal writes the error case of an answer, whose payload begins at this word.
func Refusal(word int, err error, otherwise plugin.Code) {
	refusal := plugin.Refusal(err, otherwise)
	abi.Put(0, 1)
	abi.Put(word, uint32(refusal.Code))
	abi.PutText(word+1, refusal.Detail)
}
