package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
)

// settings is what `ask` is started with.
type settings struct {
	Targets []*target `json:"targets"`
	// A client asks again so long after it has an answer.
	GapMS int64 `json:"gap_ms"`
	// Each secret that is handed out becomes a line of this file.
	SecretsFile string `json:"secrets_file"`
	// What no answer may exceed.
	LimitMS int64 `json:"limit_ms"`
}

// target is one profile of one relay.
type target struct {
	Name      string `json:"name"`
	URI       string `json:"uri"`
	TokenFile string `json:"token_file"`
	Clients   int    `json:"clients"`
	// What is handed out has more than LeastMS left; what has more than MostMS left is handed out.
	LeastMS int64 `json:"least_ms"`
	MostMS  int64 `json:"most_ms"`

	judge *judge
}

// phase is a line of standard input: what the target's relay is going through, and what is excused meanwhile.
type phase struct {
	Target string `json:"target"`
	Name   string `json:"name"`
	// The relay cannot know that what it holds is valid: its clock is wrong.
	Unknowing bool `json:"unknowing"`
	// The relay's process is stopped, and so is every answer.
	Stopped bool `json:"stopped"`
	// New connections may be closed before they are answered.
	Full bool `json:"full"`
	// In the place of all else: the process was stopped then, in seconds since the epoch.
	StoppedAt float64 `json:"stopped_at"`
	// The relay is on its way out: from its going on there are no answers.
	Leaving bool `json:"leaving"`
}

// holding is how long a client that was refused waits: the answer is known, and some come at once.
const holding = 20 * time.Millisecond

// patience is how long a client waits for an answer: longer than the relay's process is ever stopped. Without a limit of its own a
// request that is never answered would be judged by nobody.
const patience = 20 * time.Second

func ask(argument string) error {
	var given settings
	if err := json.Unmarshal([]byte(argument), &given); err != nil {
		return err
	}
	secrets, err := os.OpenFile(given.SecretsFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	lags := watchLags()
	targets := map[string]*target{}
	ctx, end := context.WithCancel(context.Background())
	defer end()
	var running sync.WaitGroup
	for _, one := range given.Targets {
		token, err := os.ReadFile(one.TokenFile)
		if err != nil {
			return err
		}
		one.judge = newJudge(one, secrets, lags, time.Duration(given.LimitMS)*time.Millisecond)
		targets[one.Name] = one
		for range one.Clients {
			running.Go(func() { one.call(ctx, string(token), time.Duration(given.GapMS)*time.Millisecond) })
		}
	}
	tell(map[string]any{"event": "asking"})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var next phase
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			return err
		}
		if next.StoppedAt > 0 {
			targets[next.Target].judge.stopped(time.UnixMilli(int64(1000 * next.StoppedAt)))
			continue
		}
		targets[next.Target].judge.enter(next)
	}
	end()
	running.Wait()
	for _, one := range given.Targets {
		one.judge.enter(phase{})
	}
	return lines.Err()
}

// call is one client: it asks by the SDK's own provider, which keeps nothing, over a connection of its own.
func (t *target) call(ctx context.Context, token string, gap time.Duration) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}
	defer transport.CloseIdleConnections()
	exchange := &exchange{client: &http.Client{Transport: transport, Timeout: patience}, judge: t.judge}
	provider := endpointcreds.New(t.URI, func(options *endpointcreds.Options) {
		options.HTTPClient = exchange
		options.Retryer = aws.NopRetryer{}
		options.AuthorizationToken = token
	})
	for ctx.Err() == nil {
		// What is under way at the end is judged too.
		found, err := provider.Retrieve(context.Background())
		if exchange.status == http.StatusOK && err != nil {
			t.judge.violated("unreadable", fmt.Sprintf("the SDK does not take an answer of 200: %v", err))
		}
		if err == nil && (found.AccessKeyID == "" || found.SecretAccessKey == "" || found.SessionToken == "" || !found.CanExpire) {
			t.judge.violated("empty", "the SDK has read credentials without all of their parts")
		}
		wait := gap
		if err != nil {
			wait = max(gap, holding)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// exchange is one client's way to the relay, on which every answer is judged.
type exchange struct {
	client *http.Client
	judge  *judge
	status int
}

// Do sends a request; the time of its answer runs from when the request was written to the answer's first byte.
func (e *exchange) Do(request *http.Request) (*http.Response, error) {
	began := e.judge.begin()
	asked := &asking{start: time.Now(), phase: began}
	trace := &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { asked.kept = info.Reused },
		WroteRequest:         func(httptrace.WroteRequestInfo) { asked.wrote = time.Now() },
		GotFirstResponseByte: func() { asked.first = time.Now() },
	}
	e.status = 0
	answer, err := e.client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
	if err != nil {
		e.judge.silent(asked, err)
		return nil, err
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		e.judge.silent(asked, err)
		return nil, err
	}
	e.status = answer.StatusCode
	e.judge.answered(asked, answer, body)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// asking is one request.
type asking struct {
	start, wrote, first time.Time
	kept                bool
	phase               phase
}
