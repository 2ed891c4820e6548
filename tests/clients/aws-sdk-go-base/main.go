// What the AWS provider of Terraform and OpenTofu makes its clients of, with the settings it gives by default. See ../README.md.
package main

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	awsbase "github.com/hashicorp/aws-sdk-go-base/v2"
	"github.com/hashicorp/aws-sdk-go-base/v2/diag"

	"credential-relay.example/clients/protocol"
)

// configured fetches credentials, and asks STS who they are.
func configured(ctx context.Context) (*sts.Client, error) {
	_, settings, found := awsbase.GetAwsConfig(ctx, &awsbase.Config{
		CallerDocumentationURL: "its documentation",
		CallerName:             "Terraform AWS Provider",
		HTTPProxyMode:          awsbase.HTTPProxyModeLegacy,
		MaxRetries:             25,
		SuppressDebugLog:       true,
	})
	if found.HasError() {
		return nil, errors.New(text(found))
	}
	return sts.NewFromConfig(settings), nil
}

func text(found diag.Diagnostics) string {
	var said []string
	for _, one := range found {
		said = append(said, one.Summary(), one.Detail())
	}
	return strings.Join(said, "\n")
}

func main() {
	var client *sts.Client
	protocol.Serve(func(ctx context.Context) (key string, err error) {
		if client == nil {
			if client, err = configured(ctx); err != nil {
				return "", err
			}
		}
		_, err = client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		return "", err
	})
}
