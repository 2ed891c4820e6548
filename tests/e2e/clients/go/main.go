// A long-lived client of the AWS SDK for Go: signed calls until it has used CLIENT_KEYS access keys. See ../README.md.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var credential = regexp.MustCompile(`Credential=([^/]+)/`)

type keys map[string]bool

// note reads the access key that a request was signed with.
func (used keys) note(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("noteKey", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		request := in.Request.(*smithyhttp.Request)
		found := credential.FindStringSubmatch(request.Header.Get("Authorization"))
		if found == nil {
			return middleware.DeserializeOutput{}, middleware.Metadata{}, fmt.Errorf("the request is not signed")
		}
		if !used[found[1]] {
			used[found[1]] = true
			fmt.Println("key", found[1])
		}
		return next.HandleDeserialize(ctx, in)
	}), middleware.After)
}

func setting(name string, otherwise int) int {
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	return value
}

func main() {
	log.SetFlags(0)
	wanted := setting("CLIENT_KEYS", 4)
	deadline := time.Now().Add(time.Duration(setting("CLIENT_DEADLINE_SECONDS", 90)) * time.Second)
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatalf("configuration: %v", err)
	}
	used := keys{}
	client := sts.NewFromConfig(settings, func(options *sts.Options) {
		options.APIOptions = append(options.APIOptions, used.note)
	})
	for calls := 1; ; calls++ {
		identity, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			log.Fatalf("call %d failed: %v", calls-1, err)
		}
		if len(used) >= wanted {
			fmt.Println("done", calls, *identity.Arn)
			return
		}
		if time.Now().After(deadline) {
			log.Fatalf("deadline: %d of %d keys in %d calls", len(used), wanted, calls)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
