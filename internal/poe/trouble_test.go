package core_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
)

// While the ledger takes nothing each request is refused, and the log says so once a minute: on a disk that is full a line for each would make it fuller.
func TestLogOfALedgerThatTakesNothing(t *testing.T) {
	var log bytes.Buffer
	b, ledger := newTampered(t, func(c *core.Config) { c.Log = zerolog.New(zerolog.SyncWriter(&log)) })
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

// While the temporary folder takes nothing, all that was accepted, and what is to be sent again, meets that each minute: the log says so once.
func TestLogOfAFolderThatTakesNothing(t *testing.T) {
	var log bytes.Buffer
	folder := filepath.Join(t.TempDir(), "spool")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	b := deferring(t, func(c *core.Config) {
		spool, err := replay.NewSpool(replay.SpoolConfig{Dir: folder, Memory: -1})
		if err != nil {
			t.Fatal(err)
		}
		c.Spool, c.Log = spool, zerolog.New(zerolog.SyncWriter(&log))
		c.Routes = []core.Route{{Match: "POST /orders"}, {Match: "POST /again", Recovery: core.RecoveryRepeat}}
	})
	b.app = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }
	for range 10 {
		monitor(t, b.do("POST", b.mint("/orders"), "apples", later))
		b.do("POST", b.mint("/again"), "apples")
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"", `"left_out":9`} {
		b.advance(time.Minute)
		log.Reset()
		b.work()
		unread := strings.Count(log.String(), "reading an accepted request") + strings.Count(log.String(), "preparing a recovery")
		if waits := strings.Count(log.String(), "an accepted action waits"); unread != 1 || waits != 1 {
			t.Errorf("said %d times that a request cannot be read, and %d times that one waits: %s", unread, waits, log.String())
		}
		if !strings.Contains(log.String(), left) {
			t.Errorf("not said that lines were left out: %s", log.String())
		}
	}
}

// Where no key signs, whoever asks for POE URIs, or just says that it knows them, fills no log: it is one line a minute.
func TestLogOfAGateThatCannotMint(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(c *core.Config) {
		const verifies = `{"keys":[{"kty":"oct","kid":"former","alg":"HS256","key_ops":["verify"],"k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`
		keys, err := tokens.ParseKeys([]byte(verifies))
		if err != nil {
			t.Fatal(err)
		}
		if c.Keys, err = tokens.NewRing(tokens.Config{Audience: c.Store.Identity().String()}, keys); err != nil {
			t.Fatal(err)
		}
		c.Log = zerolog.New(zerolog.SyncWriter(&log))
	})
	for _, want := range []string{"", `"left_out":19`} {
		log.Reset()
		for range 10 {
			if res := b.do("GET", "/poe/new?for=/orders", ""); res.StatusCode != 500 {
				t.Fatalf("minted: %d", res.StatusCode)
			}
			b.do("GET", "/orders", "", "POE: 1")
		}
		if said := log.String(); strings.Count(said, "no signing key") != 1 || !strings.Contains(said, want) {
			t.Errorf("said %s", said)
		}
		b.advance(time.Minute)
	}
}
