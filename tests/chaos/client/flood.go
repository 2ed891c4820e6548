package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// crowd is what `flood` is started with.
type crowd struct {
	Address     string `json:"address"`
	Connections int    `json:"connections"`
	// Whether each sends a request's head, a byte at a time, in the place of nothing.
	Slow bool `json:"slow"`
}

const (
	// So many connections are opened a second: the queue of those that wait to be accepted must not overflow by the test's own doing.
	opened = 2000
	// A connection that was closed is opened again after this.
	again = 5 * time.Second
	drip  = 500 * time.Millisecond
)

// flood opens the connections and keeps up their number, whatever becomes of them.
func flood(argument string) error {
	var given crowd
	if err := json.Unmarshal([]byte(argument), &given); err != nil {
		return err
	}
	var made, failed atomic.Int64
	turns := time.NewTicker(time.Second / opened)
	ctx, end := context.WithCancel(context.Background())
	defer end()
	for number := range given.Connections {
		// More addresses than one: an address has no more than some 28,000 ports.
		dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+number%200))}}
		go func() {
			for ctx.Err() == nil {
				<-turns.C
				connection, err := dialer.DialContext(ctx, "tcp4", given.Address)
				if err != nil {
					failed.Add(1)
				} else {
					made.Add(1)
					if given.Slow {
						go trickle(connection)
					}
					_, _ = io.Copy(io.Discard, connection)
					_ = connection.Close()
				}
				time.Sleep(again)
			}
		}()
	}
	for made.Load()+failed.Load() < int64(given.Connections) {
		time.Sleep(10 * time.Millisecond)
	}
	tell(map[string]any{"event": "open", "made": made.Load(), "failed": failed.Load()})
	_, _ = io.Copy(io.Discard, os.Stdin)
	tell(map[string]any{"event": "closed", "made": made.Load(), "failed": failed.Load()})
	return nil
}

// trickle sends a head that never ends.
func trickle(connection net.Conn) {
	for {
		if _, err := fmt.Fprint(connection, "G"); err != nil {
			return
		}
		time.Sleep(drip)
	}
}
