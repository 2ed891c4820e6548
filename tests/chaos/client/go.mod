module credential-relay.example/chaos

go 1.25

require (
	github.com/aws/aws-sdk-go-v2 v1.48.0
	github.com/aws/aws-sdk-go-v2/credentials v1.21.0
)

require github.com/aws/smithy-go v1.28.9 // indirect
