package pebblestore

import (
	"context"
	"fmt"
)

// Compact brings everything into the form that it has in the end: in tables of the lowest level, and only once. The ledger comes to that by itself, bit by
// bit; this is for those who measure what it takes.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return fmt.Errorf("compacting: %w", err)
	}
	defer s.leave()
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("compacting: %w", err)
	}
	if err := s.db.Compact(ctx, []byte{recordPrefix}, []byte{agendaPrefix + 1}, true); err != nil {
		return fmt.Errorf("compacting: %w", err)
	}
	return nil
}
