// The MinIO SDK for Go, with what AWS gives it. See ../README.md.
package main

import (
	"context"
	"log"
	"net/url"
	"os"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"credential-relay.example/clients/protocol"
)

func main() {
	endpoint, err := url.Parse(os.Getenv("CLIENT_ENDPOINT"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := minio.New(endpoint.Host, &minio.Options{Creds: credentials.NewIAM(""), Region: os.Getenv("AWS_REGION")})
	if err != nil {
		log.Fatal(err)
	}
	protocol.Serve(func(ctx context.Context) (string, error) {
		_, err := client.StatObject(ctx, os.Getenv("CLIENT_BUCKET"), "hello", minio.StatObjectOptions{})
		return "", err
	})
}
