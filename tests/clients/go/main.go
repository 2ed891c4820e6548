// The AWS SDK for Go, version 2. See ../README.md.
package main

import (
	"context"
	"errors"
	"log"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"credential-relay.example/clients/protocol"
)

var credential = regexp.MustCompile(`Credential=([^/]+)/`)

// noteKey reads the access key that a request was signed with.
func noteKey(key *string) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("noteKey", func(
			ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
		) (middleware.DeserializeOutput, middleware.Metadata, error) {
			found := credential.FindStringSubmatch(in.Request.(*smithyhttp.Request).Header.Get("Authorization"))
			if found == nil {
				return middleware.DeserializeOutput{}, middleware.Metadata{}, errors.New("the request is not signed")
			}
			*key = found[1]
			return next.HandleDeserialize(ctx, in)
		}), middleware.After)
	}
}

func main() {
	settings, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	var key string
	client := sts.NewFromConfig(settings, func(options *sts.Options) {
		options.APIOptions = append(options.APIOptions, noteKey(&key))
	})
	protocol.Serve(func(ctx context.Context) (string, error) {
		_, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return key, err
	})
}
