// A real Kubernetes API server for the tests: kube-apiserver's own command over an embedded etcd, on ports of loopback
// that the kernel picks. No controller runs, and no node: namespaces and service accounts are for the tests to make.
//
//	kube -folder DIR
//
// It prints one line of JSON once it is ready, and ends when its standard input does.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// Issuer is what service-account tokens say of who made them.
const issuer = "https://kubernetes.default.svc"

// Audit has each request of a service account written to the folder's audit.log.
const audit = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    userGroups: ["system:serviceaccounts"]
`

// described is what a test needs to speak to the server.
type described struct {
	// Endpoint is the server's URL.
	Endpoint string `json:"endpoint"`
	// CA is the path of the certificate to trust.
	CA string `json:"ca"`
	// Token is a bearer token of the group system:masters.
	Token string `json:"token"`
	// Issuer is that of service-account tokens.
	Issuer string `json:"issuer"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("kube: ")
	folder := flag.String("folder", "", "an empty folder for the data, the keys and the log")
	flag.Parse()
	if *folder == "" {
		log.Fatal("-folder is missing")
	}
	if err := run(*folder); err != nil {
		log.Fatal(err)
	}
}

func run(folder string) error {
	// Never closed: it would wait for the API server's watches, and what it holds is the test's alone.
	store, err := startEtcd(folder)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	token, err := writeToken(filepath.Join(folder, "tokens.csv"))
	if err != nil {
		return err
	}
	key := filepath.Join(folder, "service-accounts.key")
	if err := writeKey(key); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "audit.yaml"), []byte(audit), 0o600); err != nil {
		return err
	}
	port, err := keptPort()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(folder, store.Clients[0].Addr().String(), port, key) }()
	server := described{
		Endpoint: fmt.Sprintf("https://127.0.0.1:%d", port),
		CA:       filepath.Join(folder, "certificates", "apiserver.crt"),
		Token:    token,
		Issuer:   issuer,
	}
	if err := ready(server, ended); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(server); err != nil {
		return err
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	return <-ended
}

// startEtcd keeps everything in the folder, and does not wait for the disk: nothing here outlives the test.
func startEtcd(folder string) (*embed.Etcd, error) {
	settings := embed.NewConfig()
	settings.Dir = filepath.Join(folder, "etcd")
	settings.UnsafeNoFsync = true
	settings.LogOutputs = []string{filepath.Join(folder, "etcd.log")}
	settings.LogLevel = "error"
	// It would speak to the port that is advertised, and the kernel has yet to pick that. Nobody else asks for it.
	settings.EnableGRPCGateway = false
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	settings.ListenClientUrls, settings.ListenPeerUrls = anyPort, anyPort
	settings.AdvertiseClientUrls, settings.AdvertisePeerUrls = anyPort, anyPort
	settings.InitialCluster = settings.InitialClusterFromName(settings.Name)
	store, err := embed.StartEtcd(settings)
	if err != nil {
		return nil, err
	}
	select {
	case <-store.Server.ReadyNotify():
		return store, nil
	case err := <-store.Err():
		return nil, err
	case <-time.After(time.Minute):
		return nil, errors.New("not ready within a minute")
	}
}

func serve(folder, store string, port int, key string) error {
	command := app.NewAPIServerCommand()
	command.SetArgs([]string{
		"--etcd-servers=http://" + store,
		"--bind-address=127.0.0.1",
		// A machine may have no other address; but that one may not be an endpoint of the service "kubernetes".
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir=" + filepath.Join(folder, "certificates"),
		"--token-auth-file=" + filepath.Join(folder, "tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + key,
		"--service-account-signing-key-file=" + key,
		"--service-cluster-ip-range=10.96.0.0/16",
		"--allow-privileged=true",
		"--watch-cache=false",
		"--profiling=false",
		"--audit-policy-file=" + filepath.Join(folder, "audit.yaml"),
		"--audit-log-path=" + filepath.Join(folder, "audit.log"),
		"--audit-log-mode=blocking",
	})
	return command.Execute()
}

func ready(server described, ended <-chan error) error {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		if err := ask(server); err == nil {
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("not ready: %w", err)
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the API server ended: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ask looks whether the server can be used: that it is ready, and that its own roles are there.
func ask(server described) error {
	certificate, err := os.ReadFile(server.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(certificate) {
		return errors.New("no certificate in " + server.CA)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	for _, path := range []string{"/readyz", "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin"} {
		request, err := http.NewRequest(http.MethodGet, server.Endpoint+path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+server.Token)
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", path, answer.Status)
		}
	}
	return nil
}

func writeToken(path string) (string, error) {
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	token := hex.EncodeToString(random)
	line := token + `,test,test,"system:masters"` + "\n"
	return token, os.WriteFile(path, []byte(line), 0o600)
}

func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return os.WriteFile(path, text, 0o600)
}

// keptPort is one of loopback that the kernel gives to nobody else until this process ends: the API server's own flag has no word for
// any that is free, and it listens seconds later. It may do so, since it lets addresses be used again, as this does.
func keptPort() (int, error) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		return 0, err
	}
	return name.(*syscall.SockaddrInet4).Port, nil
}
