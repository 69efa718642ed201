package main

import (
	"net/http"
	"testing"

	"github.com/postonce/poe"
)

// 307 and 308 say that nothing was done here: whoever believes the exit code of poe post must not take that for a success.
func TestPostThatIsToBeSentElsewhere(t *testing.T) {
	s, _, orders := orderShop(t, poe.Config{}, func(mux http.Handler) http.Handler { return mux })
	_ = s
	moved, gate, _ := orderShop(t, poe.Config{}, as)
	mux := http.NewServeMux()
	mux.Handle("/poe/", gate)
	mux.Handle("/moved", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", s.URL+"/orders")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})))
	moved.Config.Handler = mux
	code, out, said := runPoe(t, "post", moved.URL+"/moved", "-d", "{}", "--include")
	if orders.Load() == 0 && code == 0 {
		t.Errorf("exit code 0, and nothing was executed anywhere\n%s%s", out, said)
	}
}
