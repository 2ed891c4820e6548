// rclone's S3 backend in one process, as `rclone mount` or `rclone serve` keeps it. See ../README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	_ "github.com/rclone/rclone/backend/s3"
	_ "github.com/rclone/rclone/fs/operations"
	"github.com/rclone/rclone/librclone/librclone"

	"credential-relay.example/clients/protocol"
)

func main() {
	librclone.Initialize()
	defer librclone.Finalize()
	remote := fmt.Sprintf(":s3,provider=Other,env_auth=true,region=%q,endpoint=%q:", os.Getenv("AWS_REGION"), os.Getenv("CLIENT_ENDPOINT"))
	listing, err := json.Marshal(map[string]string{"fs": remote, "remote": os.Getenv("CLIENT_BUCKET")})
	if err != nil {
		panic(err)
	}
	protocol.Serve(func(context.Context) (string, error) {
		answer, status := librclone.RPC("operations/list", string(listing))
		if status == http.StatusOK {
			return "", nil
		}
		var failed struct{ Error string }
		if err := json.Unmarshal([]byte(answer), &failed); err != nil {
			return "", err
		}
		return "", errors.New(failed.Error)
	})
}
