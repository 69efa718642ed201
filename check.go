package poe

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	core "github.com/postonce/poe/internal/poe"

	"github.com/postonce/poe/internal/bearer"
	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/webhook"
)

// core is the configuration in the engine's words, without what is opened for it. What is wrong with it is found before anything is made on the disk.
func (cfg *Config) core() (core.Config, error) {
	conf := core.Config{
		Routes: cfg.routes(), Prefix: cfg.Prefix, Param: cfg.Param, PublicURL: cfg.PublicURL,
		TTL: cfg.TTL, Retention: cfg.Retention, Timeout: cfg.Timeout, MaxWait: cfg.MaxWait,
		MaxBody: cfg.MaxBody, MaxResponse: cfg.MaxResponse, MaxRunning: cfg.MaxRunning,
		Clock: cfg.Clock, Log: cfg.Log, Metrics: cfg.Metrics, Authorizer: cfg.App,
	}
	if err := errors.Join(cfg.checkPlaces(), cfg.checkRoom(), cfg.checkApp(), cfg.riders(&conf)); err != nil {
		return conf, err
	}
	return conf, core.Check(conf)
}

// routes are those of the configuration, in the engine's words.
func (cfg *Config) routes() []core.Route {
	all := make([]core.Route, len(cfg.Routes))
	for i := range cfg.Routes {
		all[i] = cfg.Routes[i].core()
	}
	return all
}

// checkRoom finds sizes that are none.
func (cfg *Config) checkRoom() (err error) {
	if cfg.Spool < 0 {
		err = fmt.Errorf("spool %d is negative", cfg.Spool)
	}
	if cfg.MinFree < 0 {
		err = errors.Join(err, fmt.Errorf("min free %d is negative", cfg.MinFree))
	}
	return err
}

// checkPlaces finds folders and files that are others than they look like, or that would be written over by each other. An action that is done in the one ledger is new
// to another.
func (cfg *Config) checkPlaces() error {
	var errs []error
	for _, place := range []struct{ name, path string }{{"store", cfg.Store}, {"keys", cfg.Keys}, {"high water", cfg.HighWater}, {"JWKS", cfg.JWKS}} {
		if strings.ContainsFunc(place.path, func(r rune) bool { return !unicode.IsPrint(r) }) { // the store may have a password
			errs = append(errs, fmt.Errorf("%s has a line break or another character that nobody sees, and is another place than it looks like", place.name))
		}
	}
	if dir, ok := strings.CutPrefix(cfg.Store, "pebble:"); ok && strings.TrimSpace(dir) != dir {
		errs = append(errs, fmt.Errorf("store %q has a blank before or behind its folder, and is another one than it looks like", cfg.Store))
	}
	if ledger.KeysAreHighWater(cfg.Store, cfg.Keys, cfg.HighWater) {
		errs = append(errs, errors.New("keys and high water are one file, and each would be written over by the other"))
	}
	if cfg.Store == "memory:" && cfg.HighWater != "" {
		errs = append(errs, errors.New("high water, and a ledger that forgets everything"))
	}
	return errors.Join(errs...)
}

// checkApp finds routes that have something for nobody: what has no client of its own goes to App.
func (cfg *Config) checkApp() (err error) {
	if cfg.App != nil {
		return nil
	}
	for _, r := range cfg.Routes {
		switch {
		case r.Recovery != RecoveryHold:
			err = errors.Join(err, fmt.Errorf("route %q: recovery %s needs Config.App, the handler that it goes to", r.Match, r.Recovery))
		case r.Async:
			err = errors.Join(err, fmt.Errorf("route %q: async needs Config.App, the handler that executes what is accepted", r.Match))
		case slices.Contains(r.Doors, "async"):
			err = errors.Join(err, fmt.Errorf("route %q: the door async needs Config.App, the handler that executes what is accepted", r.Match))
		}
	}
	return err
}

// riders opens what only some routes need: who signs callbacks, and who verifies tokens.
func (cfg *Config) riders(conf *core.Config) (err error) {
	if cfg.Callbacks != nil {
		if conf.Callbacks, err = webhook.New(cfg.Callbacks.config(cfg.Clock)); err != nil {
			return fmt.Errorf("configuring callbacks: %w", err)
		}
	}
	switch {
	case cfg.JWKS == "" && cfg.JWTAudience != "":
		return errors.New("an audience of tokens, and no JWKS to verify them with")
	case cfg.JWKS != "":
		conf.Bearer, err = bearer.Open(bearer.Config{File: cfg.JWKS, Audience: cfg.JWTAudience, Clock: cfg.Clock, Log: cfg.Log})
	}
	return err
}
