package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/killpoint"
	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/tokens"
)

// serveCmd is poe serve. Its flags are the configuration's own keys.
type serveCmd struct {
	File   string       `name:"config" placeholder:"FILE" help:"Configuration, YAML; its keys are these flags, with _ for -, and routes."`
	Config serve.Config `embed:""`

	// It is said once, and the ledger remembers it: in a file it would count for the next restore as well.
	AcceptLostKeys bool `env:"-" group:"state" help:"After a restore: what was done under keys since the backup may be done again."`
}

// Help is shown after the flags.
func (serveCmd) Help() string {
	return `A flag beats the environment, which beats --config, which beats the value in brackets.
Sizes are written like 64KiB or 10MB, times like 90s or 720h.`
}

// Run serves until a signal.
func (c *serveCmd) Run(ctx context.Context, t terminal, parsed *kong.Context) error {
	cfg, err := c.load(parsed)
	if err != nil {
		return err
	}
	log, err := newLog(t.err, cfg)
	if err != nil {
		return err
	}
	if cfg.Callbacks.DangerouslyInsecure {
		log.Warn().Msg("callbacks may go to http and to addresses of the own network (callbacks.dangerously_insecure): this is for tests")
	}
	if os.Getenv("POE_ACCEPT_LOST_KEYS") != "" {
		log.Warn().Msg("POE_ACCEPT_LOST_KEYS does nothing: it would count for the next restore as well, so it is a flag alone (--accept-lost-keys)")
	}
	if odd := strayVariables(parsed); len(odd) > 0 {
		log.Warn().Strs("variables", odd).Msg("these environment variables look like settings, and no flag is called so: they do nothing")
	}
	quietStandardLog(log)
	tuneRuntime(ctx, cfg)
	return unusable(serve.Run(ctx, cfg, serve.Options{Log: log, Clock: killpoint.Clock(), AcceptLostKeys: c.AcceptLostKeys}))
}

// load puts the configuration together. What is wrong with the file makes it one that must not be used; what is wrong
// with the command line alone is wrong usage.
func (c *serveCmd) load(parsed *kong.Context) (serve.Config, error) {
	src := serve.Source{File: c.File, Given: given(parsed)}
	if c.File != "" {
		var err error
		if src.Text, err = readConfig(c.File); err != nil {
			return serve.Config{}, &configError{fmt.Errorf("reading the configuration: %w", err)}
		}
	}
	cfg, err := serve.Load(src)
	switch {
	case err == nil:
		return cfg, nil
	case c.File != "":
		return cfg, &configError{err}
	default:
		return cfg, &usageError{err: err, command: "poe serve"}
	}
}

// readConfig reads a file, no further than tells that it is too long: it may be no file at all.
func readConfig(path string) (text []byte, err error) {
	f, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, serve.MaxConfig+1))
}

// typed tells whether a flag stands on the command line; chosen, whether it stands there or in the environment.
func typed(parsed *kong.Context, name string) bool {
	return slices.ContainsFunc(parsed.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == name && !p.Resolved })
}

func chosen(parsed *kong.Context, name string) bool {
	return typed(parsed, name) || slices.ContainsFunc(parsed.Flags(), func(f *kong.Flag) bool {
		return f.Name == name && slices.ContainsFunc(f.Envs, func(env string) bool { return os.Getenv(env) != "" })
	})
}

// given lists the settings that came from flags and from the environment.
func given(parsed *kong.Context) []serve.Given {
	var all []serve.Given
	for _, f := range parsed.Flags() {
		key := f.Tag.Get("yaml")
		if key == "" || !f.Set {
			continue
		}
		from := "--" + f.Name
		if !typed(parsed, f.Name) {
			from = f.Envs[0]
		}
		all = append(all, serve.Given{Key: key, From: from, Value: f.Target.Interface()})
	}
	return all
}

// strayVariables lists what somebody may have meant as a setting, misspelled. POE_PORT and POE_SERVICE are what Kubernetes
// tells every container about a service that is called poe.
func strayVariables(parsed *kong.Context) (names []string) {
	known := map[string]bool{"POE_ACCEPT_LOST_KEYS": true} // of which more is said
	for _, f := range parsed.Flags() {
		for _, name := range f.Envs {
			known[name] = true
		}
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "POE_") && !known[name] && !strings.HasPrefix(name, "POE_PORT") && !strings.HasPrefix(name, "POE_SERVICE_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// newLog returns the log that the configuration asks for.
func newLog(w io.Writer, cfg serve.Config) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(cfg.LogLevel)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("choosing the log's level: %w", err)
	}
	if cfg.LogFormat == "text" {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: true}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}

// unusable marks the errors that mean: not with this ledger, not with these keys.
func unusable(err error) error {
	var keys *tokens.HintError
	var open *serve.OpenAdminError
	var file *serve.FileError
	switch {
	case errors.As(err, &keys), errors.As(err, &open), errors.As(err, &file), errors.Is(err, ledger.ErrKeys), errors.Is(err, store.ErrCorrupt), errors.Is(err, pebblestore.ErrForeign),
		errors.Is(err, store.ErrRolledBack), errors.Is(err, store.ErrAnother), errors.Is(err, pebblestore.ErrNoBackup):
		return &configError{err}
	case errors.Is(err, store.ErrLocked):
		return &hinted{err: err, hint: "another poe has this ledger open: stop it, or choose another with --store"}
	default:
		return err
	}
}
