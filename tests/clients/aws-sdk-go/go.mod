module credential-relay.example/clients/aws-sdk-go

go 1.25

require (
	credential-relay.example/clients/protocol v0.0.0
	github.com/aws/aws-sdk-go v1.55.8
)

require github.com/jmespath/go-jmespath v0.4.0 // indirect

replace credential-relay.example/clients/protocol => ../protocol/go
