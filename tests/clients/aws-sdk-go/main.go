// The AWS SDK for Go, version 1. See ../README.md.
package main

import (
	"context"
	"log"
	"os"
	"regexp"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/request"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/sts"

	"credential-relay.example/clients/protocol"
)

var credential = regexp.MustCompile(`Credential=([^/]+)/`)

func main() {
	shared, err := session.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	// It does not know AWS_ENDPOINT_URL.
	client := sts.New(shared, aws.NewConfig().WithEndpoint(os.Getenv("CLIENT_ENDPOINT")))
	var key string
	client.Handlers.Send.PushFront(func(signed *request.Request) {
		if found := credential.FindStringSubmatch(signed.HTTPRequest.Header.Get("Authorization")); found != nil {
			key = found[1]
		}
	})
	protocol.Serve(func(ctx context.Context) (string, error) {
		_, err := client.GetCallerIdentityWithContext(ctx, &sts.GetCallerIdentityInput{})
		return key, err
	})
}
