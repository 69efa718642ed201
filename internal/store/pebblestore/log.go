package pebblestore

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postonce/poe/internal/loglimit"
)

// logger hands Pebble's words on. Its Fatalf does not return.
type logger struct{ c *Config }

func (l logger) Infof(format string, args ...any) {
	l.c.Log.Debug().Str("from", "pebble").Msgf(format, args...)
}

func (l logger) Errorf(format string, args ...any) {
	l.c.Log.Error().Str("from", "pebble").Msgf(format, args...)
}

func (l logger) Fatalf(format string, args ...any) {
	l.c.fatal(fmt.Sprintf(format, args...))
}

// listener logs what an operator should know, and ends the process where stored data turns out to be damaged. Who opens the ledger is told by an error.
func (c *Config) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: c.upkeepFailed(),
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			if !c.opening.Load() {
				c.damaged(fmt.Sprintf("%s is damaged: %v", i.Path, i.Details))
			}
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			c.Log.Warn().Str("reason", i.Reason).Msg("writes wait for the ledger's upkeep")
		},
		WriteStallEnd: func() { c.Log.Warn().Msg("writes go on") },
	}
}

// upkeepPause is between two tries of upkeep that fails. Pebble itself makes none.
const upkeepPause = 50 * time.Millisecond

// openingTries is how often upkeep is tried that a ledger waits for while it is opened: for a second.
const openingTries = int(time.Second / upkeepPause)

// upkeepFailed tells of upkeep that fails. Before the ledger is open nothing else would end the wait: a disk that is full stays so, since
// nobody is there yet to give up the reserve, and one that fails for a second is not waited for.
func (c *Config) upkeepFailed() func(error) {
	failed, line := 0, new(loglimit.Line) // Pebble calls it under a lock
	return func(err error) {
		failed++
		switch opening := c.opening.Load(); {
		case opening && errors.Is(err, syscall.ENOSPC):
			c.fatal(fmt.Sprintf("its disk is full: make room on it (%v)", err))
		case opening && failed >= openingTries && !pebble.IsCorruptionError(err): // of damage who opens it is told by an error
			c.fatal(fmt.Sprintf("its disk fails: %v", err))
		}
		line.Limit(c.Log.Error(), c.Clock()).Err(err).Msg("the ledger's upkeep failed and is tried again")
		pause := time.NewTimer(upkeepPause)
		defer pause.Stop()
		<-pause.C
	}
}
