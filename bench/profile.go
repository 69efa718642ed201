package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// profiling takes a CPU profile of a round from a server that shows one to its operators. What it returns waits for it. The profile of the last
// round remains; servers in Go of this program write one of all rounds when they end.
func (b *bench) profiling(ctx context.Context, s *subject, on *server, d time.Duration) (wait func() error) {
	if on.Admin == "" || b.servers.host.Profile == "" {
		return func() error { return nil }
	}
	ended := make(chan error, 1)
	go func() { ended <- b.profile(ctx, s, on, d) }()
	return func() error { return <-ended }
}

// longestProfile is below the time that poe gives its operators for an answer.
const longestProfile = 25

func (b *bench) profile(ctx context.Context, s *subject, on *server, d time.Duration) error {
	seconds := min(max(1, int(d.Seconds())), longestProfile)
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", on.Admin, seconds)
	text, err := b.ask(ctx, question{method: http.MethodGet, url: url, want: http.StatusOK})
	if err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	if text, err = unplaced(text); err != nil {
		return err
	}
	name := strings.NewReplacer(" ", "-", ":", "", ",", "").Replace(s.name) + ".prof"
	if err := os.WriteFile(filepath.Join(b.servers.host.Profile, name), text, 0o600); err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	return nil
}

// unplaced takes the folder of the program out of a profile: it is this machine's, and cmd/poe/default.pgo is everybody's.
func unplaced(text []byte) ([]byte, error) {
	p, err := profile.ParseData(text)
	if err != nil {
		return nil, fmt.Errorf("reading a profile: %w", err)
	}
	for _, m := range p.Mapping {
		m.File = filepath.Base(m.File)
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		return nil, fmt.Errorf("writing a profile: %w", err)
	}
	return out.Bytes(), nil
}
