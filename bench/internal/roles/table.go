package roles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The statements of a table that a careful team would write by hand: claim, answer, look.
const (
	createTable = `CREATE TABLE IF NOT EXISTS requests (
		key text PRIMARY KEY, claimed timestamptz NOT NULL DEFAULT now(), finished timestamptz, status int, location text, body bytea)`
	claimRow  = `INSERT INTO requests (key) VALUES ($1) ON CONFLICT DO NOTHING`
	settleRow = `UPDATE requests SET finished = now(), status = $2, location = $3, body = $4 WHERE key = $1`
	lookRow   = `SELECT status, location, body FROM requests WHERE key = $1 AND finished IS NOT NULL`
)

// table is a hand-written table of requests in PostgreSQL in front of the application: the claim is committed before the application runs, and
// its answer before the client has it.
func table(ctx context.Context, cfg Config) error {
	db, err := pgxpool.New(ctx, cfg.Behind)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer db.Close()
	if _, err := db.Exec(ctx, createTable); err != nil {
		return fmt.Errorf("creating the table: %w", err)
	}
	return serve(ctx, cfg.Listen, &requests{db: db, next: http.HandlerFunc(order)})
}

type requests struct {
	db   *pgxpool.Pool
	next http.Handler
}

// answer is what the application answered.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func (t *requests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := t.once(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that is gone is counted by the load generator
}

func (t *requests) once(r *http.Request) (*answer, error) {
	a := &answer{status: http.StatusOK, header: http.Header{}}
	key := r.Header.Get("Idempotency-Key")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	ctx := context.WithoutCancel(r.Context())
	claimed, err := t.db.Exec(ctx, claimRow, key)
	if err != nil {
		return nil, fmt.Errorf("claiming: %w", err)
	}
	if claimed.RowsAffected() == 0 {
		return a, t.look(ctx, key, a)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	t.next.ServeHTTP(a, r)
	if _, err := t.db.Exec(ctx, settleRow, key, a.status, a.header.Get("Location"), a.body.Bytes()); err != nil {
		return nil, fmt.Errorf("settling: %w", err)
	}
	return a, nil
}

// look finds the answer to a key that was claimed before.
func (t *requests) look(ctx context.Context, key string, a *answer) error {
	var location string
	var body []byte
	err := t.db.QueryRow(ctx, lookRow, key).Scan(&a.status, &location, &body)
	if errors.Is(err, pgx.ErrNoRows) {
		a.status = http.StatusConflict
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking: %w", err)
	}
	a.header.Set("Location", location)
	_, _ = a.body.Write(body) // a buffer takes it
	return nil
}
