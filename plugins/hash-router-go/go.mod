module github.com/tidegate/tidegate/plugins/hash-router-go

go 1.24

require github.com/tidegate/tidegate/sdk/go v0.0.0

replace github.com/tidegate/tidegate/sdk/go => ../../sdk/go
