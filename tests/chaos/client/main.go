// Clients of relays that ask without a pause and judge every answer. See ../README.md.
//
// `client ask` takes its targets as JSON in its argument, and from then on a line of JSON for each change of a phase; it
// ends with its standard input. `client flood` opens connections and keeps them until its standard input ends.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "ask":
		err = ask(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "flood":
		err = flood(os.Args[2])
	default:
		err = fmt.Errorf("usage: %s ask|flood <settings as JSON>", os.Args[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var out struct {
	sync.Mutex
	encoder *json.Encoder
}

// tell writes one line.
func tell(event map[string]any) {
	out.Lock()
	defer out.Unlock()
	if out.encoder == nil {
		out.encoder = json.NewEncoder(os.Stdout)
	}
	_ = out.encoder.Encode(event)
}
