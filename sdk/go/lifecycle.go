package tidegate

import (
	"errors"
	"strings"
)

func configure(config string) error {
	if policy.Configure != nil {
		return policy.Configure([]byte(config))
	}
	if strings.Join(strings.Fields(config), "") != "{}" {
		return errors.New("the policy takes no configuration: remove `config`")
	}
	return nil
}

func selfTest() (int, error) {
	if policy.SelfTest == nil {
		return 0, nil
	}
	return policy.SelfTest()
}
