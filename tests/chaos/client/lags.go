package main

import (
	"sync"
	"time"
)

// lags knows when this process itself was late: a goroutine that wants to run every few milliseconds notes by how much it
// could not. What a client was late by is not the relay's.
type lags struct {
	mutex sync.Mutex
	late  []late
	// When it wants to run next: where that is over it is late now, and whoever asks may have had its turn first.
	due time.Time
}

type late struct{ from, to time.Time }

const (
	tick      = 2 * time.Millisecond
	tolerated = 5 * time.Millisecond
	kept      = 1000
)

func watchLags() *lags {
	l := &lags{due: time.Now().Add(tick)}
	go func() {
		for {
			time.Sleep(tick)
			l.mutex.Lock()
			now := time.Now()
			if now.Sub(l.due) > tolerated {
				l.late = append(l.late, late{l.due, now})
				if len(l.late) > 2*kept {
					l.late = append([]late(nil), l.late[kept:]...)
				}
			}
			l.due = now.Add(tick)
			l.mutex.Unlock()
		}
	}()
	return l
}

// within is for how long of this span the process was late.
func (l *lags) within(from, to time.Time) time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var sum time.Duration
	if now := time.Now(); now.Sub(l.due) > tolerated {
		sum = late{l.due, now}.within(from, to)
	}
	for at := len(l.late) - 1; at >= 0 && l.late[at].to.After(from); at-- {
		sum += l.late[at].within(from, to)
	}
	return sum
}

// within is for how long of this span it was.
func (l late) within(from, to time.Time) time.Duration {
	begin, end := l.from, l.to
	if begin.Before(from) {
		begin = from
	}
	if end.After(to) {
		end = to
	}
	return max(0, end.Sub(begin))
}
