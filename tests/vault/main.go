// A real Vault for the tests: Vault's own core, AWS secrets engine, auth methods and HTTP handler in one small program,
// in memory, initialised and unsealed, with a journal of every request and switches for faults in front of it.
//
// It prints one JSON line when it is ready (see ready) and serves until SIGTERM or the end of its standard input.
// Everything that it knew is lost then: a start on the same port is a Vault that came back empty.
//
// Vault's own licence, the Business Source License 1.1, allows this use. Nothing of it is part of what is shipped.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ready is the line on standard output.
type ready struct {
	Address    string   `json:"address"`
	Control    string   `json:"control"`
	RootToken  string   `json:"root_token"`
	UnsealKeys []string `json:"unseal_keys"`
	Version    string   `json:"version"`
}

type options struct {
	listen, control              string
	tlsCert, tlsKey, tlsClientCA string
	rootToken, logLevel          string
	defaultLeaseTTL, maxLeaseTTL time.Duration
	rollbackPeriod               time.Duration
}

func parse() options {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "where Vault listens")
	flag.StringVar(&o.control, "control", "127.0.0.1:0", "where the journal and the faults are")
	flag.StringVar(&o.tlsCert, "tls-cert", "", "PEM `file` of the server's certificate: serve TLS, and ask clients for a certificate")
	flag.StringVar(&o.tlsKey, "tls-key", "", "PEM `file` of its key")
	flag.StringVar(&o.tlsClientCA, "tls-client-ca", "", "PEM `file` of CAs that a client's certificate, if it sends one, must be from")
	flag.StringVar(&o.rootToken, "root-token", "", "the root token's `id` (default: one that Vault makes up)")
	flag.StringVar(&o.logLevel, "log-level", "warn", "trace, debug, info, warn or error, to standard error")
	flag.DurationVar(&o.defaultLeaseTTL, "default-lease-ttl", 0, "of the whole server (default: Vault's, 768h)")
	flag.DurationVar(&o.maxLeaseTTL, "max-lease-ttl", 0, "of the whole server (default: Vault's, 768h)")
	flag.DurationVar(&o.rollbackPeriod, "rollback-period", 0, "how often Vault looks for static roles to rotate (default: Vault's, 1m)")
	flag.Parse()
	return o
}

func main() {
	if err := run(parse()); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.LevelFromString(o.logLevel)})

	// The ports first: what can fail because of this machine fails before the slow part.
	secure, err := tlsConfig(o)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", o.control)
	if err != nil {
		return err
	}
	address := "http://" + listener.Addr().String()
	if secure != nil {
		address = "https://" + listener.Addr().String()
	}
	started, err := startVault(ctx, o, address, log)
	if err != nil {
		return err
	}

	front := &front{vault: started.handler}
	failed := make(chan error, 2)
	serve := func(listener net.Listener, handler http.Handler, secure *tls.Config) {
		server := &http.Server{Handler: handler, TLSConfig: secure, ErrorLog: log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn})}
		if secure != nil {
			failed <- server.ServeTLS(listener, "", "")
		} else {
			failed <- server.Serve(listener)
		}
	}
	go serve(listener, front, secure)
	go serve(control, front.control(), nil)
	err = json.NewEncoder(os.Stdout).Encode(ready{
		Address:    address,
		Control:    "http://" + control.Addr().String(),
		RootToken:  started.rootToken,
		UnsealKeys: started.unsealKeys,
		Version:    started.version,
	})
	if err != nil {
		return err
	}

	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// tlsConfig asks for a client's certificate without requiring one, as a Vault listener does: auth/cert judges it.
func tlsConfig(o options) (*tls.Config, error) {
	if o.tlsCert == "" && o.tlsKey == "" && o.tlsClientCA == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	if o.tlsClientCA != "" {
		pem, err := os.ReadFile(o.tlsClientCA)
		if err != nil {
			return nil, err
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("-tls-client-ca has no certificate")
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return config, nil
}
