package serve_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// A hanging gate is one whose disk does not answer: it says so when nobody waits any more, as the ledger does.
type hanging struct{}

func (hanging) Ready(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("the disk has not answered yet")
}

func (hanging) Notes() []string { return nil }

// Who asks is told that the disk does not answer, however long he would wait.
func TestNotReadyWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w, began := httptest.NewRecorder(), time.Now()
		serve.Health(hanging{}).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/readyz", nil))
		if took := time.Since(began); w.Code != 503 || !strings.Contains(w.Body.String(), "the disk has not answered yet") || took > 2*time.Second {
			t.Errorf("after %s: %d %s", took, w.Code, w.Body)
		}
	})
}
