package prove_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The judge is an application that counts what it was asked to do: by the action's id, and by the first line of the body, which says
// what the client wants done. A client that has its way twice under two ids shows in the second count.
type judge struct {
	mu    sync.Mutex
	count map[string]int
	wants map[string]int
	quick bool // it takes no time
}

func newJudge() *judge { return &judge{count: map[string]int{}, wants: map[string]int{}} }

// largeAnswer is more than a record holds.
var largeAnswer = strings.Repeat("0123456789abcde\n", 6000)

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("POE-Id")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // not whole: nothing was done
	}
	want, _, _ := strings.Cut(string(body), "\n")
	want = strings.Clone(want) // and not all of the body
	j.mu.Lock()
	j.count[id]++
	j.wants[want]++
	j.mu.Unlock()
	if !j.quick {
		<-time.After(time.Duration(rand.IntN(4)) * time.Millisecond) // an application takes its time, in which it can be left alone
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprintf(w, "done %s with %s", id, want)
	if r.URL.RawQuery == "large" {
		_, _ = io.WriteString(w, largeAnswer)
	}
}

func (j *judge) executions(id string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.count[id]
}

// of returns how often a client had its way.
func (j *judge) of(want string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.wants[want]
}

// doubled lists the ids that were executed more than once.
func (j *judge) doubled() (ids []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, n := range j.count {
		if n > 1 {
			ids = append(ids, fmt.Sprintf("%s was executed %d times", id, n))
		}
	}
	return ids
}

// An ear is who is called back. It remembers under which message it heard of which action.
type ear struct {
	mu    sync.Mutex
	heard map[string]map[string]int // by the action's id, how often under which webhook-id
}

func newEar() *ear { return &ear{heard: map[string]map[string]int{}} }

func (e *ear) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	_, rest, _ := strings.Cut(string(body), `"data":{"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	id = strings.Clone(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.heard[id] == nil {
		e.heard[id] = map[string]int{}
	}
	e.heard[id][r.Header.Get("Webhook-Id")]++
}

// messages returns under how many messages it heard of an action.
func (e *ear) messages(id string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.heard[id])
}

// repeats returns how many messages came more than once.
func (e *ear) repeats() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, messages := range e.heard {
		for _, times := range messages {
			n += min(times-1, 1)
		}
	}
	return n
}
