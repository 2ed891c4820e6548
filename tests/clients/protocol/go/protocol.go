// Package protocol is what every client in Go has in common: how the driver asks it for calls. See ../../README.md.
package protocol

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"
)

type answer struct {
	OK    bool    `json:"ok"`
	Key   *string `json:"key"`
	Error string  `json:"error,omitempty"`
}

// Serve makes one call for each line of the standard input, until that ends. A call tells the access key that it was
// signed with, or "" where the client does not tell.
func Serve(call func(context.Context) (string, error)) {
	out := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		key, err := call(context.Background())
		said := answer{OK: err == nil}
		if err != nil {
			said.Error = err.Error()
		} else if key != "" {
			said.Key = &key
		}
		if err := out.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}
