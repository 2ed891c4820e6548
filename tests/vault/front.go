package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// front stands before Vault: it writes down every request, and does to some what a fault says.
type front struct {
	vault http.Handler

	mutex   sync.Mutex
	journal []*entry
	faults  []*fault
	// Closed and made anew when the faults are cleared: what hangs then ends.
	cleared chan struct{}
}

// entry is one request, written down when it arrives; Status is 0 until its answer begins.
type entry struct {
	StartMS   int64  `json:"start_ms"`
	Method    string `json:"method"`
	Path      string `json:"path"`
	Query     string `json:"query,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// The first 16 hexadecimal digits of the token's SHA-256, empty if there was none.
	Token     string `json:"token,omitempty"`
	WrapTTL   string `json:"wrap_ttl,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
	Source    string `json:"source"`
	Status    int    `json:"status"`
	TookMS    int64  `json:"took_ms"`
	Fault     string `json:"fault,omitempty"`
}

// fault is what POST /fault takes: what happens to the next requests to paths (with /v1/) that begin with a prefix.
type fault struct {
	PathPrefix string `json:"path_prefix"`
	// Only this method; any if empty.
	Method string `json:"method"`
	// hang: until the client goes or the faults are cleared. delay: by delay_ms. status: that answer, with body and
	// headers. redirect: to location, which gets the request's path if it has none. close: the connection, unanswered.
	// truncate: Vault's own answer, half of it.
	Kind string `json:"kind"`
	// For hang, delay and close: Vault has done what was asked already.
	After    bool              `json:"after"`
	Status   int               `json:"status"`
	DelayMS  int64             `json:"delay_ms"`
	Body     json.RawMessage   `json:"body"`
	Headers  map[string]string `json:"headers"`
	Location string            `json:"location"`
	// How many requests; until cleared if 0.
	Times int `json:"times"`

	hits int
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	seen := &entry{
		StartMS:   began.UnixMilli(),
		Method:    r.Method,
		Path:      r.URL.Path,
		Query:     r.URL.RawQuery,
		Namespace: r.Header.Get("X-Vault-Namespace"),
		Token:     tokenDigest(r.Header),
		WrapTTL:   r.Header.Get("X-Vault-Wrap-TTL"),
		UserAgent: r.UserAgent(),
		Source:    r.RemoteAddr,
	}
	fault, cleared := f.arrived(seen)
	// Before the answer's first byte goes out, so that whoever has the answer finds its status in the journal.
	answer := &watched{ResponseWriter: w, answering: func(status int) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		seen.Status, seen.TookMS = status, time.Since(began).Milliseconds()
	}}
	if fault == nil {
		f.vault.ServeHTTP(answer, r)
		return
	}
	f.spoil(fault, cleared, answer, r)
}

// arrived writes a request down, and says what fault is due to it.
func (f *front) arrived(seen *entry) (*fault, <-chan struct{}) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.journal = append(f.journal, seen)
	if f.cleared == nil {
		f.cleared = make(chan struct{})
	}
	for _, fault := range f.faults {
		left := fault.Times == 0 || fault.hits < fault.Times
		if left && strings.HasPrefix(seen.Path, fault.PathPrefix) && (fault.Method == "" || fault.Method == seen.Method) {
			fault.hits++
			seen.Fault = fault.Kind
			return fault, f.cleared
		}
	}
	return nil, f.cleared
}

// spoil answers a request as a fault wants it.
func (f *front) spoil(fault *fault, cleared <-chan struct{}, w http.ResponseWriter, r *http.Request) {
	// A client that goes away is noticed only once its request has been read to the end.
	asked, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(asked))
	real := httptest.NewRecorder()
	if fault.After || fault.Kind == "truncate" {
		f.vault.ServeHTTP(real, r)
	}
	switch fault.Kind {
	case "hang":
		select {
		case <-r.Context().Done():
		case <-cleared:
		}
		panic(http.ErrAbortHandler)
	case "close":
		panic(http.ErrAbortHandler)
	case "delay":
		select {
		case <-r.Context().Done():
		case <-time.After(time.Duration(fault.DelayMS) * time.Millisecond):
		}
		if fault.After {
			send(w, real, real.Body.Len())
		} else {
			f.vault.ServeHTTP(w, r)
		}
	case "truncate":
		send(w, real, real.Body.Len()/2)
	case "status", "redirect":
		for name, value := range fault.Headers {
			w.Header().Set(name, value)
		}
		if fault.Kind == "redirect" {
			w.Header().Set("Location", location(fault.Location, r.URL))
		}
		w.WriteHeader(fault.Status)
		_, _ = w.Write(fault.body())
	}
}

// body is a JSON string's own text, and of anything else its JSON.
func (f *fault) body() []byte {
	var text string
	if json.Unmarshal(f.Body, &text) == nil {
		return []byte(text)
	}
	return f.Body
}

// location is where a redirect goes: like a standby's, to the same path unless it says another.
func location(to string, asked *url.URL) string {
	parsed, err := url.Parse(to)
	if err != nil || parsed.Path != "" {
		return to
	}
	return to + asked.RequestURI()
}

// send passes on an answer of Vault's, or only the first bytes of its body; net/http closes the connection after those.
func send(w http.ResponseWriter, real *httptest.ResponseRecorder, bytes int) {
	for name, values := range real.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(real.Body.Len()))
	w.WriteHeader(real.Code)
	_, _ = w.Write(real.Body.Bytes()[:bytes])
}

// control is the handler of the other listener.
func (f *front) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, _ *http.Request) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(append([]*entry{}, f.journal...))
	})
	mux.HandleFunc("POST /journal/clear", func(w http.ResponseWriter, _ *http.Request) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		f.journal = nil
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /fault", func(w http.ResponseWriter, r *http.Request) {
		fault, err := readFault(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.mutex.Lock()
		defer f.mutex.Unlock()
		f.faults = append(f.faults, fault)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /fault/clear", func(w http.ResponseWriter, _ *http.Request) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		f.faults = nil
		if f.cleared != nil {
			close(f.cleared)
			f.cleared = nil
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func readFault(body io.Reader) (*fault, error) {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	read := new(fault)
	if err := decoder.Decode(read); err != nil {
		return nil, err
	}
	switch read.Kind {
	case "hang", "delay", "close", "truncate":
	case "status":
		if read.Status < 200 || read.Status > 599 {
			return nil, fmt.Errorf("status: %d", read.Status)
		}
	case "redirect":
		if read.Status == 0 {
			read.Status = http.StatusTemporaryRedirect
		}
	default:
		return nil, fmt.Errorf("kind: %q", read.Kind)
	}
	return read, nil
}

func tokenDigest(headers http.Header) string {
	token := headers.Get("X-Vault-Token")
	if token == "" {
		token, _ = strings.CutPrefix(headers.Get("Authorization"), "Bearer ")
	}
	if token == "" {
		return ""
	}
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:8])
}

// watched tells the status when the answer begins, and lets Vault reach what else its writer can do.
type watched struct {
	http.ResponseWriter
	answering func(status int)
	begun     bool
}

func (w *watched) WriteHeader(status int) {
	if !w.begun && status >= 200 {
		w.begun = true
		w.answering(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(body []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(body)
}

func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
