package pebblestore

import (
	"errors"
	"time"

	"github.com/postonce/poe/internal/store"
)

// markEvery is how often the high-water file is written while there are writes, lookEvery how often the system is asked for the room on the disk.
const (
	markEvery = time.Second
	lookEvery = 250 * time.Millisecond
)

// every calls do until Close.
func (s *Store) every(pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			do()
		}
	}
}

// watch does what is due every second.
func (s *Store) watch() {
	switch err := s.guard.mark(); { // a line each second would fill the disk that is full
	case err != nil && !s.unmarked:
		s.c.Log.Error().Err(err).Msg("nothing new is taken until that can be written")
		s.unmarked = true
	case err == nil && s.unmarked:
		s.c.Log.Warn().Msg("the high-water file can be written again")
		s.unmarked = false
	}
	was := s.ahead
	s.ahead = s.clock.Ahead()
	switch {
	case s.ahead > 0 && was == 0:
		s.c.Log.Error().Dur("ahead", s.ahead).Time("ledger", s.clock.Floor()).
			Msg("the clock is ahead of the ledger's time: nothing is forgotten until it is taken back or confirmed (poe clock confirm), or has run on for an hour after a start")
	case s.ahead == 0 && was > 0:
		s.c.Log.Warn().Msg("the clock is believed again")
	}
	behind := s.clock.Behind()
	switch {
	case behind > 0 && !s.behind:
		s.c.Log.Error().Dur("behind", behind).Time("ledger", s.clock.Floor()).
			Msg("the clock is behind the ledger's time, which goes at half its pace until it has caught up: what expires, or is to be done later, takes twice as long. If the clock is right, the ledger was used, or restored, with one that was ahead")
	case behind == 0 && s.behind:
		s.c.Log.Warn().Msg("the clock has caught up with the ledger's time")
	}
	s.behind = behind > 0
}

// lookAround looks at the room on the disk.
func (s *Store) lookAround() {
	was, away := s.room.short.Load(), s.room.away.Load()
	if err := s.room.look(); err != nil {
		if !away {
			s.c.Log.Error().Err(err).Msg("the ledger's disk does not answer, or its folder is gone, or another one is in its place: nothing new is taken")
		}
		return
	}
	if away {
		s.c.Log.Warn().Msg("the ledger's disk answers again")
	}
	switch err := s.room.refuses(); {
	case err != nil && !was:
		s.sayRefuses(err)
	case err == nil && was:
		s.c.Log.Warn().Msg("there is room on the disk again")
	}
	s.room.keep()
}

// sayRefuses tells operators that nothing new is taken.
func (s *Store) sayRefuses(err error) {
	s.c.Log.Error().Err(err).Msg("nothing new is taken; what runs is settled")
}

// refuses says why nothing new is taken, with store.ErrUnavailable; nil: it is.
func (s *Store) refuses() error { return errors.Join(s.room.refuses(), s.guard.refuses()) }

// Health implements store.Upkeep.
func (s *Store) Health() store.Health {
	return store.Health{Free: s.room.free.Load(), Low: s.room.short.Load(), Ahead: s.clock.Ahead(), Left: s.left.now()}
}

// ConfirmClock implements store.Upkeep.
func (s *Store) ConfirmClock() { s.clock.Confirm() }

// Clock implements store.Upkeep.
func (s *Store) Clock() *store.Clock { return s.clock }
