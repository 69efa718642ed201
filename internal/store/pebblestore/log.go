package pebblestore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
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

// listener logs what an operator should know, and ends the process where stored data turns out to be damaged.
func (c *Config) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			c.Log.Error().Err(err).Msg("the ledger's upkeep failed and is tried again")
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			c.fatal(fmt.Sprintf("%s is damaged: %v", i.Path, i.Details))
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			c.Log.Warn().Str("reason", i.Reason).Msg("writes wait for the ledger's upkeep")
		},
		WriteStallEnd: func() { c.Log.Warn().Msg("writes go on") },
	}
}
