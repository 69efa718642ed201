package core_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// While the ledger takes nothing each request is refused, and the log says so once a minute: on a disk that is full a line for each would make it fuller.
func TestLogOfALedgerThatTakesNothing(t *testing.T) {
	var log bytes.Buffer
	b, ledger := newTampered(t, func(c *core.Config) { c.Log = zerolog.New(&log) })
	ledger.claim = func(store.Record) error { return fmt.Errorf("%w: 3 MiB are left on the disk", store.ErrUnavailable) }
	lines := func() (all []string) {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "asking the ledger") {
				all = append(all, line)
			}
		}
		return all
	}
	for range 10 {
		wantProblem(t, b.do("POST", b.mint("/orders"), "apples"), 503, "ledger-unavailable")
	}
	if all := lines(); len(all) != 1 || !strings.Contains(all[0], "3 MiB are left") {
		t.Errorf("said %q", all)
	}
	b.advance(time.Minute)
	for range 2 {
		wantProblem(t, b.do("POST", b.mint("/orders"), "apples"), 503, "ledger-unavailable")
	}
	if all := lines(); len(all) != 2 || !strings.Contains(all[1], `"left_out":9`) {
		t.Errorf("a minute later it has said %q", all)
	}
}
