package prove_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A story is what clients did to one action, and what they were told.
type story struct {
	uri, id, want string

	mu    sync.Mutex
	left  int // operations that still may begin
	doing int // operations that have begun and not ended
	posts int
	said  []porcupine.Operation
}

// A chronicle is the stories of all actions.
type chronicle struct {
	t      *testing.T
	base   atomic.Pointer[string] // where the current process serves
	client *http.Client
	began  time.Time
	least  int64 // operations that are wanted

	operations, broken, actions, kills atomic.Int64

	mu    sync.Mutex
	hot   []*story // what clients choose from
	check chan *story
}

const (
	hotStories = 48
	perStory   = 12
)

// live has one client do things to actions until enough was done.
func (c *chronicle) live(ctx context.Context, n int) {
	for ctx.Err() == nil && (c.operations.Load() < c.least || c.kills.Load() < leastKills) {
		s, post := c.choose(ctx)
		if s == nil {
			pause(ctx)
			continue
		}
		c.act(ctx, n, s, post)
		c.release(s)
	}
}

// choose begins an operation on one of the actions that are told of now: a POST, or a GET (0).
func (c *chronicle) choose(ctx context.Context) (s *story, post int) {
	c.mu.Lock()
	if len(c.hot) < hotStories {
		c.mu.Unlock()
		return c.mint(ctx), 1
	}
	i := rand.IntN(len(c.hot))
	s = c.hot[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 { // the last operation on it
		c.hot[i] = c.hot[len(c.hot)-1]
		c.hot = c.hot[:len(c.hot)-1]
	}
	c.mu.Unlock()
	s.doing++
	if rand.IntN(2) == 0 {
		s.posts++
		post = s.posts
	}
	return s, post
}

// mint begins a story with its first POST.
func (c *chronicle) mint(ctx context.Context) *story {
	base := c.base.Load()
	if base == nil {
		return nil
	}
	_, body, err := c.send(ctx, http.MethodGet, *base+"/poe/new?for=/orders", "")
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(body, `"uri":"`)
	uri, rest, _ := strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	s := &story{uri: strings.ReplaceAll(uri, `\u0026`, "&"), id: id, want: "want " + id, left: perStory, doing: 1, posts: 1}
	c.actions.Add(1)
	c.mu.Lock()
	c.hot = append(c.hot, s)
	c.mu.Unlock()
	return s
}

// release ends an operation. When it was the last one the story is complete.
func (c *chronicle) release(s *story) {
	s.mu.Lock()
	s.doing--
	complete := s.doing == 0 && s.left == 0
	s.mu.Unlock()
	if complete {
		c.check <- s
	}
}

// act does one operation, with a client that is sometimes impatient, and notes it.
func (c *chronicle) act(ctx context.Context, client int, s *story, post int) {
	base := c.base.Load()
	if base == nil {
		return
	}
	if rand.IntN(10) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(5000))*time.Microsecond)
		defer cancel()
	}
	called := time.Since(c.began).Nanoseconds()
	method := http.MethodGet
	if post > 0 {
		method = http.MethodPost
	}
	res, body, err := c.send(ctx, method, *base+s.uri, s.want)
	returned := time.Since(c.began).Nanoseconds()
	note := func(in input, returned int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		in.by = post
		s.said = append(s.said, porcupine.Operation{ClientId: client, Input: in, Call: called, Return: returned})
	}
	if err != nil && (post == 0 || notSent(err)) {
		return
	}
	c.operations.Add(1)
	if err != nil {
		c.broken.Add(1)
		note(input{step: maybe}, math.MaxInt64)
		note(input{step: ends}, math.MaxInt64)
		return
	}
	state, _, _ := strings.Cut(res.Header.Get("POE-State"), ";")
	switch {
	case post > 0 && res.StatusCode == http.StatusCreated && body == "done "+s.id+" with "+s.want:
		note(input{step: claims}, returned)
		note(input{step: settles}, returned)
	case post > 0 && res.StatusCode == http.StatusUnprocessableEntity:
		note(input{step: claims}, returned)
		note(input{step: releases}, returned)
	case post > 0 && res.StatusCode != http.StatusMethodNotAllowed && res.StatusCode != http.StatusConflict,
		post == 0 && state == "done" && body != "done "+s.id+" with "+s.want, state == "":
		c.t.Errorf("%s: %s is answered %s, %q: %.300q", s.id, method, res.Status, state, body)
	default:
		note(input{step: sees, seen: state}, returned)
	}
}

// notSent tells whether an error proves that no process has seen the request.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (c *chronicle) send(ctx context.Context, method, url, content string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(content))
	if err != nil {
		return nil, "", err
	}
	res, err := c.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// judgeStories checks each story against the model. One that does not fit is drawn, for people.
func (c *chronicle) judgeStories() (checked int) {
	model := actionModel.ToModel()
	for s := range c.check {
		checked++
		result, info := porcupine.CheckOperationsVerbose(model, s.said, 10*time.Second)
		if result == porcupine.Ok {
			continue
		}
		c.t.Errorf("%s: %s", s.id, result)
		path := filepath.Join(os.TempDir(), "poe-history-"+s.id+".html")
		if err := porcupine.VisualizePath(model, info, path); err != nil {
			c.t.Error(err)
		}
		c.t.Logf("its history is drawn in %s", path)
		for _, op := range s.said {
			c.t.Logf("%d to %d: client %d %s", op.Call/1000, op.Return/1000, op.ClientId, actionModel.DescribeOperation(op.Input, nil))
		}
	}
	return checked
}

// leastKills is how many kills a history has at least, however fast the operations come.
const leastKills = 2

// lives runs one process after the other, and kills each.
func (c *chronicle) lives(ctx context.Context, random *rand.Rand, program string, args []string) error {
	for ctx.Err() == nil {
		p, err := launch(program, nil, args...)
		if err != nil || p.url == "" {
			return fmt.Errorf("it does not start: %w", err)
		}
		c.base.Store(&p.url)
		die := time.NewTimer(time.Duration(200+random.IntN(1800)) * time.Millisecond)
		select {
		case <-die.C:
		case <-ctx.Done():
		}
		die.Stop()
		p.kill()
		c.kills.Add(1)
	}
	return nil
}

// Many clients, some of them impatient, do the same things to the same actions, while the process is killed again and again. What each of them is told of
// an action fits together: there is an order of all that was done to it in which it was unused, then running, and then done for ever, or unknown.
func TestHistories(t *testing.T) {
	began, random := time.Now(), seeded(t)
	program, err := plain()
	if err != nil {
		t.Fatal(err)
	}
	j := newJudge()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rand.IntN(12) == 0 {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		j.ServeHTTP(w, r)
	}))
	defer app.Close()
	c := &chronicle{
		t: t, began: time.Now(), least: int64(form{1_000_000, 30_000, 4_000}.size()), check: make(chan *story, 1024),
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	ctx, stop := context.WithTimeout(t.Context(), form{30, 3, 3}.minutes())
	defer stop()
	var checked int
	var processes, clients, checker sync.WaitGroup
	processes.Go(func() {
		err = c.lives(ctx, random, program, []string{"serve", "--listen", "127.0.0.1:0", "--admin", "", "--upstream", app.URL, "--store", "pebble:" + t.TempDir() + "/ledger"})
		stop()
	})
	checker.Go(func() { checked = c.judgeStories() })
	for n := range 32 {
		clients.Go(func() { c.live(ctx, n) })
	}
	clients.Wait()
	took := time.Since(c.began)
	stop()
	processes.Wait()
	for _, s := range c.hot {
		c.check <- s
	}
	close(c.check)
	checker.Wait()
	if err != nil {
		t.Error(err)
	}
	for _, d := range j.doubled() {
		t.Error(d)
	}
	kills := c.kills.Load()
	rate := float64(len(j.count)) / took.Seconds()
	t.Logf("%d operations on %d actions, %d heard nothing, %d processes killed, %.0f executions a second", c.operations.Load(), checked, c.broken.Load(), kills, rate)
	least := form{100, 50, 10}.size() // claims a second; a short form runs beside other tests, and under the race detector
	if rate < float64(least) || c.operations.Load() < c.least || c.broken.Load() == 0 || kills < leastKills {
		t.Error("too little was going on to prove anything")
	}
	publish(t, began, figure{
		Proof:  "histories",
		Sample: fmt.Sprintf("%d operations on %d actions, %d of them without an answer; %d kills; %.0f claims a second", c.operations.Load(), checked, c.broken.Load(), kills, rate),
		Result: "every history fits the model",
	})
}
