package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/postonce/poe/bench/internal/proc"
)

// Restate starts a Restate of one node, and a service in Go behind it, with so many partitions, or 0: as many as it has by default. As with the proxies, the
// application is not counted.
func (h *Host) Restate(ctx context.Context, name string, partitions int) (*Server, error) {
	found, err := filepath.Glob(filepath.Join(h.Modules, "@restatedev", "restate-server-*", "bin", "restate-server"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("restate-server: %w", ErrMissing)
	}
	dir, err := h.folder(name)
	if err != nil {
		return nil, err
	}
	node, err1 := free()
	ingress, err2 := free()
	admin, err3 := free()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	app, at, err := h.role(name+" service", Role{Role: "restate", Behind: "nothing"})
	if err != nil {
		return nil, err
	}
	env := []string{
		"RESTATE_INGRESS__BIND_ADDRESS=" + ingress, "RESTATE_ADMIN__BIND_ADDRESS=" + admin, "RESTATE_DISABLE_TELEMETRY=true",
		"RESTATE_LOG_FILTER=warn", "DO_NOT_TRACK=1",
		"TMPDIR=" + h.Folder, // it leaves folders behind
	}
	with := "partitions as it comes"
	if partitions > 0 {
		env = append(env, "RESTATE_DEFAULT_NUM_PARTITIONS="+strconv.Itoa(partitions))
		with = fmt.Sprintf("%d partitions", partitions)
	}
	db, err := start(proc.Spec{
		Name: "restate-server", Path: found[0], Args: []string{"--base-dir", dir, "--bind-address", node, "--node-name", "bench"}, Env: env,
	}, ingress)
	if err != nil {
		return nil, errors.Join(err, app.Stop())
	}
	s := &Server{
		Name: name, URL: "http://" + ingress, Folder: dir, counted: []*proc.Process{db}, beside: []*proc.Process{app},
		Version:  said(ctx, found[0], "--version") + "; sdk-go " + Module("github.com/restatedev/sdk-go"),
		Settings: "one node, synced log, " + with + ", log filter warn, no telemetry; HTTP/2 to the service",
	}
	if err := register(ctx, "http://"+admin, "http://"+at, s.URL+"/Orders/Create"); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// register tells Restate of the service, and waits until it answers through the ingress.
func register(ctx context.Context, admin, service, handler string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*started)
	defer cancel()
	body, err := json.Marshal(map[string]string{"uri": service})
	if err != nil {
		return err
	}
	if err := repeat(ctx, admin+"/deployments", body, http.StatusCreated); err != nil {
		return fmt.Errorf("registering the service with Restate: %w", err)
	}
	if err := repeat(ctx, handler, []byte(`{"item":"apple"}`), http.StatusOK); err != nil {
		return fmt.Errorf("waiting for Restate: %w", err)
	}
	return nil
}

// repeat posts until the answer has the status. Neither a registration nor a call without a key minds.
func repeat(ctx context.Context, url string, body []byte, want int) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		last, err := post(ctx, url, body, want)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", err, last)
		case <-again.C:
		}
	}
}

func post(ctx context.Context, url string, body []byte, want int) (said []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if said, err = io.ReadAll(res.Body); err == nil && res.StatusCode != want {
		err = fmt.Errorf("answered %s", res.Status)
	}
	return said, err
}
