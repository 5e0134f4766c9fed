module {{name}}

go 1.24

require github.com/tidegate/tidegate/sdk/go v0.0.0

// Elsewhere than on this machine: take this line away, and `go get github.com/tidegate/tidegate/sdk/go`.
replace github.com/tidegate/tidegate/sdk/go => {{sdk}}/go
