// Package paced sends requests at a fixed rate, whether or not the earlier ones are answered, and measures from the moment when each should have
// been sent. So a server that stalls is charged for all who had to wait.
package paced

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what is sent: a POST of the body to each target once.
type Load struct {
	Host        string // address
	Targets     []string
	Body        string
	Want        int // the status that each answer must have
	Connections int // the most that are open, and so the most that are under way
	PerSecond   float64

	Clock func() time.Time
}

// Result is what was measured.
type Result struct {
	PerSecond float64 // answered
	P50, P99  time.Duration
}

// timeout ends a run whose server has stopped to answer.
const timeout = 10 * time.Second

// Run sends all of it. An answer of another status, or a broken connection, is an error.
func Run(ctx context.Context, l Load) (Result, error) {
	n := len(l.Targets)
	if n == 0 || l.Connections == 0 || l.PerSecond <= 0 {
		return Result{}, errors.New("a paced run needs targets, connections and a rate")
	}
	var next atomic.Int64
	waited, errs := make([]time.Duration, n), make([]error, l.Connections)
	began := l.Clock().Add(10 * time.Millisecond) // until all connections are there
	var all sync.WaitGroup
	for c := range l.Connections {
		all.Go(func() {
			errs[c] = l.connection(ctx, func() (int, time.Time, bool) {
				i := int(next.Add(1)) - 1
				return i, began.Add(time.Duration(float64(i) / l.PerSecond * float64(time.Second))), i < n
			}, waited)
		})
	}
	all.Wait()
	took := l.Clock().Sub(began)
	if err := errors.Join(errs...); err != nil {
		return Result{}, fmt.Errorf("sending at a fixed rate: %w", err)
	}
	slices.Sort(waited)
	return Result{PerSecond: float64(n) / took.Seconds(), P50: waited[n/2], P99: waited[n*99/100]}, nil
}

// connection takes the next request that is due, and sends it when it is due, over one connection.
func (l *Load) connection(ctx context.Context, take func() (int, time.Time, bool), waited []time.Duration) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	var out []byte
	for {
		i, due, ok := take()
		if !ok {
			return nil
		}
		if d := due.Sub(l.Clock()); d > 0 {
			pause.Reset(d)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-pause.C:
			}
		}
		if err := c.SetDeadline(l.Clock().Add(timeout)); err != nil {
			return err
		}
		out = l.request(out[:0], l.Targets[i])
		if _, err := c.Write(out); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
		if err := answer(in, l.Want); err != nil {
			return err
		}
		waited[i] = l.Clock().Sub(due)
	}
}

func (l *Load) request(b []byte, target string) []byte {
	b = append(b, "POST "+target+" HTTP/1.1\r\nHost: "+l.Host+"\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(l.Body)), 10)
	return append(append(b, "\r\n\r\n"...), l.Body...)
}

// answer reads one answer with a Content-Length and checks its status.
func answer(in *bufio.Reader, want int) error {
	first, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if !bytes.HasPrefix(first, strconv.AppendInt([]byte("HTTP/1.1 "), int64(want), 10)) {
		return fmt.Errorf("answered %q, not %d", bytes.TrimSpace(first), want)
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return fmt.Errorf("reading Content-Length: %w", err)
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without a length")
	}
	_, err = in.Discard(length)
	return err
}
