package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// judge looks at every answer of one target, and counts them by phase.
type judge struct {
	target  *target
	secrets *os.File
	lags    *lags
	limit   time.Duration

	mutex sync.Mutex
	phase phase
	tally tally
	// What was handed out, by key.
	known map[string]*credential
	// Until when something that was handed out stays valid.
	heldUntil time.Time
	heldSince time.Time
	stoppedAt time.Time
	gone      bool
}

type credential struct {
	expires time.Time
	// When it was first had, and last asked for.
	first, last time.Time
	unknowing   bool
}

// tally is of one phase.
type tally struct {
	issued, unknowing, refused, silent, violations int
	slowest, lag                                   time.Duration
	statuses                                       map[int]int
	firstRefusal, lastRefusal                      time.Time
}

// document is an answer of 200.
type document struct {
	Code, AccessKeyId, SecretAccessKey, Token, Expiration string
}

func newJudge(t *target, secrets *os.File, lags *lags, limit time.Duration) *judge {
	return &judge{target: t, secrets: secrets, lags: lags, limit: limit, known: map[string]*credential{}}
}

// enter ends a phase, tells what was seen in it, and begins the next.
func (j *judge) enter(next phase) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	t := j.tally
	tell(map[string]any{
		"event": "phase", "target": j.target.Name, "phase": j.phase.Name, "issued": t.issued, "refused": t.refused, "silent": t.silent,
		"violations": t.violations, "slowest_ms": t.slowest.Milliseconds(), "lag_ms": t.lag.Milliseconds(), "statuses": t.statuses,
		"first_refusal": seconds(t.firstRefusal), "last_refusal": seconds(t.lastRefusal),
	})
	for key, one := range j.known {
		tell(map[string]any{
			"event": "served", "target": j.target.Name, "key": key, "expires": one.expires.Unix(),
			"first": seconds(one.first), "last": seconds(one.last), "unknowing": one.unknowing,
		})
		if time.Since(one.last) > time.Minute {
			delete(j.known, key)
		}
	}
	j.phase, j.tally = next, tally{statuses: map[int]int{}}
	if next.Leaving {
		j.gone = false
	}
}

// stopped notes when the relay's process was stopped.
func (j *judge) stopped(at time.Time) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.stoppedAt = at
}

// mayBeDecided says whether an answer may have been decided on before the process was stopped, and sent after it went on: no program
// can know that it was stopped between the two. What had come earlier than an answer may take was answered by then.
func (j *judge) mayBeDecided(a *asking) bool {
	return a.start.Before(j.stoppedAt) && a.start.After(j.stoppedAt.Add(-j.limit)) && a.first.After(j.stoppedAt)
}

func (j *judge) begin() phase {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.phase
}

// answered judges one answer.
func (j *judge) answered(a *asking, answer *http.Response, body []byte) {
	now := time.Now()
	j.mutex.Lock()
	defer j.mutex.Unlock()
	lag := j.lags.within(a.wrote, now)
	took := a.first.Sub(a.wrote) - lag
	excused := a.phase.Stopped || j.phase.Stopped
	if took > j.limit && !excused {
		j.violate("slow", fmt.Sprintf("%d after %d ms (this client's own lag of %d ms taken off)", answer.StatusCode, took.Milliseconds(), lag.Milliseconds()))
	}
	if !excused {
		j.tally.slowest, j.tally.lag = max(j.tally.slowest, took), max(j.tally.lag, lag)
	}
	if answer.StatusCode == http.StatusOK {
		j.tally.issued++
		j.issued(a, now, lag, answer, body)
		return
	}
	j.tally.refused++
	if j.tally.statuses == nil {
		j.tally.statuses = map[int]int{}
	}
	j.tally.statuses[answer.StatusCode]++
	if j.tally.firstRefusal.IsZero() {
		j.tally.firstRefusal = now
	}
	j.tally.lastRefusal = now
	j.withheld(a, now, answer, body)
}

// issued judges an answer of 200: all its parts are there, and it is not over.
func (j *judge) issued(a *asking, now time.Time, lag time.Duration, answer *http.Response, body []byte) {
	var said document
	if err := json.Unmarshal(body, &said); err != nil {
		j.violate("unreadable", fmt.Sprintf("200 with %d bytes that are no document", len(body)))
		return
	}
	if said.Code != "Success" || said.AccessKeyId == "" || said.SecretAccessKey == "" || said.Token == "" {
		j.violate("empty", "200 without all parts of a credential")
		return
	}
	if kind := answer.Header.Get("Content-Type"); kind != "application/json" {
		j.violate("unreadable", "Content-Type is "+kind)
	}
	expires, err := time.Parse("2006-01-02T15:04:05Z", said.Expiration)
	if err != nil {
		j.violate("unreadable", fmt.Sprintf("Expiration is %q", said.Expiration))
		return
	}
	// By a wrong clock an Expiration is wrong too: those keys are judged by the upstream's journal, as all are in the end.
	unknowing := a.phase.Unknowing || j.phase.Unknowing
	least := time.Duration(j.target.LeastMS) * time.Millisecond
	if unknowing {
		j.tally.unknowing++
	} else if left := expires.Sub(a.start); left < least {
		j.violate("expired", fmt.Sprintf("%s had %d ms left when it was asked for, less than the margin of %d", said.AccessKeyId, left.Milliseconds(), least.Milliseconds()))
	} else if left := expires.Sub(a.first.Add(-lag)); left < 0 && !j.mayBeDecided(a) {
		j.violate("expired", fmt.Sprintf("%s was over for %d ms when the answer came", said.AccessKeyId, -left.Milliseconds()))
	}
	one := j.known[said.AccessKeyId]
	if one == nil {
		one = &credential{expires: expires, first: now}
		j.known[said.AccessKeyId] = one
		_, _ = fmt.Fprintf(j.secrets, "%s\n%s\n", said.SecretAccessKey, said.Token)
	}
	if a.start.After(one.last) {
		one.last = a.start
	}
	one.unknowing = one.unknowing || unknowing
	if unknowing {
		return
	}
	if one.expires != expires {
		j.violate("expired", fmt.Sprintf("%s has another Expiration than before", said.AccessKeyId))
	}
	if until := expires.Add(-time.Duration(j.target.MostMS) * time.Millisecond); until.After(j.heldUntil) {
		j.heldUntil, j.heldSince = until, now
	}
}

// withheld judges an answer that is none: nothing valid may be held. What was handed out before this was asked for, and is
// valid still, is held.
func (j *judge) withheld(a *asking, now time.Time, answer *http.Response, body []byte) {
	if status := answer.StatusCode; status != http.StatusServiceUnavailable && status != http.StatusForbidden {
		j.violate("status", fmt.Sprintf("%d: %.300s", status, body))
	}
	if len(body) == 0 {
		j.violate("empty", "a refusal without a reason")
	}
	if a.phase.Unknowing || j.phase.Unknowing {
		return
	}
	if !j.heldUntil.IsZero() && a.start.After(j.heldSince) && now.Before(j.heldUntil) {
		j.violate("withheld", fmt.Sprintf("%d, though what was handed out before is valid for %d ms more: %.300s", answer.StatusCode, j.heldUntil.Sub(now).Milliseconds(), body))
	}
}

// silent judges a request that got no answer.
func (j *judge) silent(a *asking, err error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.tally.silent++
	if j.phase.Leaving {
		if !j.gone {
			j.gone = true
			tell(map[string]any{"event": "gone", "target": j.target.Name, "at": seconds(time.Now()), "error": err.Error()})
		}
		return
	}
	if !j.phase.Stopped && !a.phase.Stopped && !((j.phase.Full || a.phase.Full) && !a.kept) {
		j.violate("silent", "no answer: "+err.Error())
	}
}

func (j *judge) violated(what, detail string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.violate(what, detail)
}

// violate tells a violation; of those of one phase only the first are told, and all are counted.
func (j *judge) violate(what, detail string) {
	j.tally.violations++
	if j.tally.violations <= 20 {
		tell(map[string]any{"event": "violation", "target": j.target.Name, "phase": j.phase.Name, "what": what, "at": seconds(time.Now()), "detail": detail})
	}
}

func seconds(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.UnixMilli()) / 1000
}
