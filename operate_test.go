package poe_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

// A program without an admin listener can do what an operator does elsewhere: give a business key back, ask whether the ledger takes anything, and back it up while it is in use.
func TestProgramOperatesItself(t *testing.T) {
	dir := t.TempDir()
	gate := openGate(t, poe.Config{Store: "pebble:" + filepath.Join(dir, "ledger"), Routes: []poe.Route{{Name: "payments", Match: "POST /orders/{id}/payment", Unique: []string{"path:id"}}}})
	status := http.StatusInternalServerError
	h := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	pay := func() *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/orders/7/payment", strings.NewReader("amount=5")))
		return w.Result()
	}
	_, id, _ := strings.Cut(pay().Header.Get("Poe-State"), `id="`)
	id, _, _ = strings.Cut(id, `"`)
	status = http.StatusCreated
	if res := pay(); res.StatusCode != http.StatusConflict {
		t.Fatalf("after a failure the key is taken: %d", res.StatusCode)
	}
	if err := gate.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := gate.Free(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if res := pay(); res.StatusCode != http.StatusCreated {
		t.Errorf("the key is free, and a payment is answered %d", res.StatusCode)
	}
	if err := gate.Free(t.Context(), "01a22888-2bae-701f-8f80-65c334591f0a"); !errors.Is(err, poe.ErrNoAction) {
		t.Errorf("an action that is none: %v", err)
	}
	if err := gate.Backup(t.Context(), filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	if err := gate.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := gate.Ready(t.Context()); err == nil {
		t.Error("a gate that is closed is ready")
	}
}
