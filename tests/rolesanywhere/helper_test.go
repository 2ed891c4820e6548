// AWS's own credential helper for IAM Roles Anywhere, so that its requests can be compared with the relay's.
//
// It is a test binary because of testing/synctest, under which its clock is the one that it is given: the helper signs
// with the present time alone. One JSON object comes in by standard input (see asked); what comes out is one line that
// begins with "said: ".
package rolesanywhere

import (
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
	helper "github.com/aws/rolesanywhere-credential-helper/aws_signing_helper"
	"github.com/aws/rolesanywhere-credential-helper/rolesanywhere"
)

// asked is what a session is asked for, and by what.
type asked struct {
	Certificate    string `json:"certificate"`
	Chain          string `json:"chain"`
	Key            string `json:"key"`
	TrustAnchorARN string `json:"trust_anchor_arn"`
	ProfileARN     string `json:"profile_arn"`
	RoleARN        string `json:"role_arn"`
	SessionName    string `json:"session_name"`
	Seconds        int    `json:"seconds"`
	Region         string `json:"region"`
	Endpoint       string `json:"endpoint"`
	// RFC 3339.
	At time.Time `json:"at"`
}

// signed is a request as the helper would send it.
type signed struct {
	URL          string            `json:"url"`
	Headers      map[string]string `json:"headers"`
	Body         string            `json:"body"`
	StringToSign string            `json:"string_to_sign"`
}

// listening is a signer that keeps what it was given to sign.
type listening struct {
	crypto.Signer
	heard []byte
}

func (l *listening) Sign(random io.Reader, text []byte, opts crypto.SignerOpts) ([]byte, error) {
	l.heard = text
	return l.Signer.Sign(random, text, opts)
}

func read(t *testing.T) asked {
	var a asked
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

func say(t *testing.T, what any) {
	text, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("said: %s\n", text)
}

func (a asked) options() *helper.CredentialsOpts {
	return &helper.CredentialsOpts{
		PrivateKeyId:        a.Key,
		CertificateId:       a.Certificate,
		CertificateBundleId: a.Chain,
		RoleArn:             a.RoleARN,
		ProfileArnStr:       a.ProfileARN,
		TrustAnchorArnStr:   a.TrustAnchorARN,
		SessionDuration:     a.Seconds,
		Region:              a.Region,
		Endpoint:            a.Endpoint,
		RoleSessionName:     a.SessionName,
	}
}

// TestSign says what the helper would send at the given time.
func TestSign(t *testing.T) {
	a := read(t)
	synctest.Test(t, func(t *testing.T) {
		// Nobody waits: the clock is moved on.
		time.Sleep(time.Until(a.At))
		signer, algorithm, err := helper.GetSigner(a.options())
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := signer.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := signer.CertificateChain()
		if err != nil {
			t.Fatal(err)
		}
		config := aws.NewConfig().WithRegion(a.Region).WithEndpoint(a.Endpoint)
		client := rolesanywhere.New(session.Must(session.NewSession()), config)
		heard := &listening{Signer: signer}
		client.Handlers.Sign.Clear()
		client.Handlers.Sign.PushBack(helper.CreateRequestSignFunction(heard, algorithm, certificate, chain))
		seconds := int64(a.Seconds)
		input := &rolesanywhere.CreateSessionInput{
			DurationSeconds: &seconds,
			ProfileArn:      &a.ProfileARN,
			RoleArn:         &a.RoleARN,
			TrustAnchorArn:  &a.TrustAnchorARN,
		}
		if a.SessionName != "" {
			input.RoleSessionName = &a.SessionName
		}
		request, _ := client.CreateSessionRequest(input)
		if err := request.Sign(); err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(request.GetBody())
		if err != nil {
			t.Fatal(err)
		}
		headers := map[string]string{}
		for name := range request.HTTPRequest.Header {
			headers[name] = request.HTTPRequest.Header.Get(name)
		}
		say(t, signed{
			URL:          request.HTTPRequest.URL.String(),
			Headers:      headers,
			Body:         string(body),
			StringToSign: string(heard.heard),
		})
	})
}

// TestSession has the helper ask for a session, as its credential-process command does.
func TestSession(t *testing.T) {
	a := read(t)
	signer, algorithm, err := helper.GetSigner(a.options())
	if err != nil {
		t.Fatal(err)
	}
	given, err := helper.GenerateCredentials(a.options(), signer, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	say(t, given)
}
