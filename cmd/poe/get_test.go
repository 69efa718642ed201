package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Who looks for what became of a POST is not told that there was none, where something else answers: a proxy while the server is away, an application that
// refuses to show it (authorize).
func TestGetKnowsNothingOfThePost(t *testing.T) {
	for _, code := range []int{http.StatusBadGateway, http.StatusForbidden} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		defer s.Close()
		for _, args := range [][]string{{"get"}, {"get", "--receipt"}} {
			exit, _, said := runPoe(t, append(args, s.URL+"/orders?poe=TOKEN")...)
			want := fmt.Sprintf("poe: error: poe does not answer there: the answer to the GET is %d, without POE-State\n", code) +
				"poe: hint: that says nothing of what was POSTed, which may have been executed; is poe in front of the application, --prefix the same as there, and may you see the outcome?\n"
			if exit != exitError || said != want {
				t.Errorf("%d, %v: exit code %d, and it said:\n%s", code, args, exit, said)
			}
		}
	}
}
