package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/postonce/poe/bench/internal/proc"
)

// FiberRedis starts Fiber's middleware with its answers on a Redis of its own, which syncs each write before it answers.
func (h *Host) FiberRedis(ctx context.Context, name string) (*Server, error) {
	path, err := find("redis-server")
	if err != nil {
		return nil, err
	}
	dir, err := h.folder("redis")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "redis.sock")
	db, err := start(proc.Spec{Name: "redis", Path: path, Args: []string{
		"--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
	}}, socket)
	if err != nil {
		return nil, err
	}
	s, err := h.beforeDatabase(name, "fiber-redis", socket, db)
	if err != nil {
		return nil, err
	}
	s.Folder, s.Version = dir, said(ctx, path, "--version")+"; Fiber "+Module("github.com/gofiber/fiber/v3")
	s.Settings = "appendonly yes, appendfsync always, no RDB, Unix socket; pool of 512 connections; locks in the memory of Fiber"
	return s, nil
}

// PostgresTable starts a hand-written table of requests, on a PostgreSQL of its own.
func (h *Host) PostgresTable(ctx context.Context, name string) (*Server, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	who, err := postgresUser()
	if err != nil {
		return nil, err
	}
	dir, err := h.folder("postgres")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if who != nil {
		if err := os.Chown(dir, int(who.UID), int(who.GID)); err != nil {
			return nil, fmt.Errorf("giving the folder of PostgreSQL away: %w", err)
		}
	}
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "bench", "-A", "trust", "--no-instructions") //nolint:gosec // of Debian
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if who != nil {
		initdb.SysProcAttr.Credential = &syscall.Credential{Uid: who.UID, Gid: who.GID}
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("running initdb: %w\n%s", err, out)
	}
	db, err := start(proc.Spec{
		Name: "postgres", Path: filepath.Join(bin, "postgres"), Dir: dir, User: who, Stop: syscall.SIGINT, // fast shutdown
		Args: []string{
			"-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "shared_buffers=256MB", "-c", "max_connections=100", "-c", "synchronous_commit=on",
			"-c", "max_wal_size=4GB",
		},
	}, filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		return nil, err
	}
	if err := accepting(ctx, filepath.Join(bin, "pg_isready"), dir); err != nil {
		return nil, errors.Join(err, db.Stop())
	}
	s, err := h.beforeDatabase(name, "table", "user=bench dbname=postgres host="+dir+" pool_max_conns=64", db)
	if err != nil {
		return nil, err
	}
	s.Folder, s.Version = dir, said(ctx, filepath.Join(bin, "postgres"), "--version")+"; pgx "+Module("github.com/jackc/pgx/v5")
	s.Settings = "synchronous_commit on, shared_buffers 256 MB, max_wal_size 4 GB, Unix socket, prepared statements; pool of 64 connections"
	return s, nil
}

// accepting waits until PostgreSQL takes requests. It listens a while earlier.
func accepting(ctx context.Context, isReady, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, started)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		out, err := exec.CommandContext(ctx, isReady, "-h", dir).CombinedOutput() //nolint:gosec // of Debian
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for PostgreSQL: %w\n%s", err, out)
		case <-again.C:
		}
	}
}

// beforeDatabase starts the server in Go before a database, and counts both.
func (h *Host) beforeDatabase(name, role, behind string, db *proc.Process) (*Server, error) {
	s, err := h.Role(name, Role{Role: role, Behind: behind})
	if err != nil {
		return nil, errors.Join(err, db.Stop())
	}
	s.counted = append(s.counted, db)
	return s, nil
}

// postgresBin finds the newest PostgreSQL of Debian, or one on the path.
func postgresBin() (string, error) {
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", fmt.Errorf("looking for PostgreSQL: %w", err)
	}
	if len(all) > 0 {
		slices.Sort(all)
		return filepath.Dir(all[len(all)-1]), nil
	}
	path, err := find("postgres")
	return filepath.Dir(path), err
}

// postgresUser is who PostgreSQL runs as: it refuses root. Nil: who this process is.
func postgresUser() (*proc.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root, and nobody is called postgres (%w): %w", err, ErrMissing)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("looking for the user postgres: %w", err)
	}
	return &proc.User{UID: uint32(uid), GID: uint32(gid)}, nil
}
