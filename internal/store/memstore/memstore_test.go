package memstore_test

import (
	"testing"
	"time"

	"github.com/postonce/poe/internal/store/memstore"
	"github.com/postonce/poe/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, clock func() time.Time) storetest.Instance {
		t.Helper()
		s, err := memstore.New(memstore.Config{Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		return storetest.Instance{Store: s}
	})
}
