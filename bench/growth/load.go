package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postonce/poe/bench/internal/proc"
)

// client prepares the rounds; what is measured goes over bare connections.
var client = &http.Client{Timeout: time.Minute}

const order = `{"item":"apple","quantity":3,"note":"a body of about a hundred bytes, as small orders have"}`

// figures are what one round showed, or the medians of several.
type figures struct {
	perSecond float64
	cpu       time.Duration // of the server, for a request
	p50, p99  time.Duration
}

// A request is what each connection sends, and the status that it expects.
type request struct {
	method, status string
	targets        []string
}

func (q *request) append(b []byte, host, target string) []byte {
	b = append(b, q.method+" "+target+" HTTP/1.1\r\nHost: "+host+"\r\n"...)
	if q.method == http.MethodGet {
		return append(b, "\r\n"...)
	}
	b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(order)), 10)
	return append(append(b, "\r\n\r\n"...), order...)
}

// load sends the requests to the server, over all connections at once, and measures.
func (p *plan) load(srv *server, q *request) (figures, error) {
	pid := []int{srv.PID()}
	before, err := proc.Measure(pid)
	if err != nil {
		return figures{}, err
	}
	times, errs := make([][]time.Duration, p.connections), make([]error, p.connections)
	var all sync.WaitGroup
	began := p.clock()
	for c := range p.connections {
		all.Go(func() { times[c], errs[c] = p.connection(srv.host, q, c) })
	}
	all.Wait()
	took := p.clock().Sub(began)
	after, err := proc.Measure(pid)
	if err := errors.Join(append(errs, err)...); err != nil {
		return figures{}, err
	}
	each := slices.Concat(times...)
	slices.Sort(each)
	return figures{
		perSecond: float64(len(each)) / took.Seconds(), cpu: (after.CPU - before.CPU) / time.Duration(len(each)),
		p50: each[len(each)/2], p99: each[len(each)*99/100],
	}, nil
}

// connection sends the c-th share of the requests, one after the other.
func (p *plan) connection(host string, q *request, c int) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", host) //nolint:noctx // loopback
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = conn.Close() }()
	times := make([]time.Duration, 0, len(q.targets)/p.connections+1)
	in := bufio.NewReader(conn)
	var out []byte
	for i := c; i < len(q.targets); i += p.connections {
		out = q.append(out[:0], host, q.targets[i])
		began := p.clock()
		if _, err := conn.Write(out); err != nil {
			return nil, fmt.Errorf("writing: %w", err)
		}
		if err := answer(in, q.status); err != nil {
			return nil, err
		}
		times = append(times, p.clock().Sub(began))
	}
	return times, nil
}

// answer reads one answer, which has a length, and checks its status.
func answer(in *bufio.Reader, want string) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 "+want)) {
		return fmt.Errorf("answered %q, not %s", line, want)
	}
	length := -1
	for len(line) > 2 {
		if line, err = in.ReadSlice('\n'); err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return fmt.Errorf("reading the length of an answer: %w", err)
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without a length")
	}
	_, err = in.Discard(length)
	return err
}

// mint returns n POE URIs of the server.
func mint(ctx context.Context, srv *server, n int) ([]string, error) {
	var all []string
	for len(all) < n {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+srv.host+"/poe/new?for=/orders&count="+strconv.Itoa(min(1000, n-len(all))), nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "text/plain")
		res, err := client.Do(r)
		if err != nil {
			return nil, fmt.Errorf("minting: %w", err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			return nil, fmt.Errorf("minting: %w", err)
		}
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("minting was answered %s", res.Status)
		}
		all = append(all, strings.Fields(string(body))...)
	}
	return all, nil
}
