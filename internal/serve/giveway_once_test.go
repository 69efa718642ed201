package serve_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// One connection gives way for who waits. Another does not, where the first is gone, and who waits has not taken its place yet.
func TestOneGivesWay(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	all := serve.Waiting(2, func() time.Time { return now })
	for i := range all.Conns {
		now = now.Add(time.Second)
		all.Follow(all.Conns[i], http.StateIdle)
	}
	now = now.Add(time.Minute)
	for range 2 {
		if !all.GiveWay() {
			t.Fatal("nobody gives way")
		}
	}
	if err := all.Conns[0].Close(); err != nil {
		t.Fatal(err)
	}
	if !all.GiveWay() {
		t.Error("there is a place, and nobody is told")
	}
	for i, ended := range []bool{true, false} {
		if got := all.Ended[i].Load(); got != ended {
			t.Errorf("connection %d was ended: %t", i, got)
		}
	}
}
