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
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// client prepares the rounds; what is measured goes over bare connections.
var client = &http.Client{Timeout: time.Minute}

const orderBody = `{"item":"apple","quantity":3,"note":"a body of about a hundred bytes, as small orders have"}`

// run sends n requests over the connections and measures.
func (s *subject) run(ctx context.Context, connections, n int) (result, error) {
	targets, want, err := s.targets(ctx, n)
	if err != nil {
		return result{}, err
	}
	host := strings.TrimPrefix(s.url, "http://")
	before, err := cpuTime(s.pid)
	if err != nil {
		return result{}, err
	}
	times := make([][]time.Duration, connections)
	errs := make([]error, connections)
	var all sync.WaitGroup
	began := time.Now() //nolint:forbidigo // a measurement
	for c := range connections {
		all.Go(func() {
			var share []string
			for i := c; i < n; i += connections {
				share = append(share, targets[i%len(targets)])
			}
			times[c], errs[c] = s.connection(host, share, want)
		})
	}
	all.Wait()
	took := time.Since(began) //nolint:forbidigo // a measurement
	after, err := cpuTime(s.pid)
	if err := errors.Join(append(errs, err)...); err != nil {
		return result{}, err
	}
	each := slices.Concat(times...)
	slices.Sort(each)
	return result{
		perSecond: float64(len(each)) / took.Seconds(),
		cpu:       (after - before) / time.Duration(len(each)),
		p50:       each[len(each)/2],
		p99:       each[len(each)*99/100],
	}, nil
}

// connection sends one request after the other over one connection.
func (s *subject) connection(host string, targets []string, want string) ([]time.Duration, error) {
	c, err := net.Dial("tcp", host) //nolint:noctx // loopback
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	times := make([]time.Duration, 0, len(targets))
	in := bufio.NewReader(c)
	var out []byte
	for _, t := range targets {
		out = s.request(out[:0], host, t)
		began := time.Now() //nolint:forbidigo // a measurement
		if _, err := c.Write(out); err != nil {
			return nil, fmt.Errorf("writing: %w", err)
		}
		if err := answer(in, want); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began)) //nolint:forbidigo // a measurement
	}
	return times, nil
}

func (s *subject) request(b []byte, host, target string) []byte {
	if s.kind == outcomes || s.kind == mints {
		return append(b, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n"...)
	}
	b = append(b, "POST "+target+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(orderBody)), 10)
	return append(append(b, "\r\n\r\n"...), orderBody...)
}

// answer reads one answer with a Content-Length and checks its status.
func answer(in *bufio.Reader, want string) error {
	length, first := -1, true
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if first {
			if !bytes.HasPrefix(line, []byte("HTTP/1.1 "+want)) {
				return fmt.Errorf("answered %q, not %s", line, want)
			}
			first = false
			continue
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without a length")
	}
	_, err := in.Discard(length)
	return err
}

// targets returns what to send to, and the status that is expected.
func (s *subject) targets(ctx context.Context, n int) (all []string, want string, err error) {
	switch {
	case s.kind == mints:
		return []string{"/poe/new?for=/orders"}, "200", nil
	case !s.poe:
		// As long as a POE URI, and another one each time.
		for i := range n {
			all = append(all, fmt.Sprintf("/orders?x=%0330d", i))
		}
		return all, "201", nil
	case s.kind == repeats || s.kind == outcomes:
		all, err = mint(ctx, s.url, 256)
		if err == nil {
			_, err = s.use(ctx, all)
		}
		want = map[load]string{repeats: "405", outcomes: "200"}[s.kind]
		return all, want, err
	default:
		all, err = mint(ctx, s.url, n)
		return all, "201", err
	}
}

// use POSTs to all of them once.
func (s *subject) use(ctx context.Context, all []string) (int, error) {
	for i, t := range all {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+t, strings.NewReader(orderBody))
		if err != nil {
			return i, err
		}
		res, err := client.Do(r)
		if err != nil {
			return i, err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			return i, fmt.Errorf("a first POST was answered %s", res.Status)
		}
	}
	return len(all), nil
}

func mint(ctx context.Context, url string, n int) ([]string, error) {
	var all []string
	for len(all) < n {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/poe/new?for=/orders&count="+strconv.Itoa(min(1000, n-len(all))), nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "text/plain")
		res, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("minting: %s %w", res.Status, err)
		}
		all = append(all, strings.Fields(string(body))...)
	}
	return all, nil
}

// cpuTime returns the CPU time that a process has used, user and system, to a hundredth of a second.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of a server: %w", err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}
