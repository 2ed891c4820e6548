// What Thanos, Cortex and Mimir keep their blocks with. See ../README.md.
package main

import (
	"context"
	"log"
	"net/url"
	"os"

	kitlog "github.com/go-kit/log"
	"github.com/thanos-io/objstore/providers/s3"

	"credential-relay.example/clients/protocol"
)

func main() {
	endpoint, err := url.Parse(os.Getenv("CLIENT_ENDPOINT"))
	if err != nil {
		log.Fatal(err)
	}
	settings := s3.DefaultConfig
	settings.AWSSDKAuth = true
	settings.Bucket = os.Getenv("CLIENT_BUCKET")
	settings.Endpoint = endpoint.Host
	settings.Insecure = true // the test AWS speaks plain HTTP
	settings.Region = os.Getenv("AWS_REGION")
	bucket, err := s3.NewBucketWithConfig(kitlog.NewNopLogger(), settings, "client", nil)
	if err != nil {
		log.Fatal(err)
	}
	protocol.Serve(func(ctx context.Context) (string, error) {
		_, err := bucket.Attributes(ctx, "hello")
		return "", err
	})
}
