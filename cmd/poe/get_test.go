package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postonce/poe"
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
				"poe: hint: that says nothing of what was POSTed, which may have been executed; is poe in front of the application, --prefix and --param the same as there, and may you see the outcome?\n"
			if exit != exitError || said != want {
				t.Errorf("%d, %v: exit code %d, and it said:\n%s", code, args, exit, said)
			}
		}
	}
}

// Without the server's --prefix no receipt is found of what is done. It says that there should be one.
func TestReceiptBelowAnotherPrefix(t *testing.T) {
	s, gate, _ := orderShop(t, poe.Config{Prefix: "/p/"}, as)
	one, err := gate.Mint(t.Context(), "POST", "/orders")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, said := runPoe(t, "post", "--prefix", "/p/", s.URL+one.URI, "-d", "a=b"); code != 0 {
		t.Fatal(code, out, said)
	}
	code, _, said := runPoe(t, "get", "--receipt", s.URL+one.URI)
	want := "poe: error: there is no receipt: the POE URI is done\npoe: hint: there should be one; is --prefix the same as there?\n"
	if code != exitError || said != want {
		t.Errorf("exit code %d, and it said:\n%s", code, said)
	}
}

// Without the server's --param a POE URI is an address like others, whose receipt the application is asked for. It says what to look at.
func TestReceiptOfAnotherParam(t *testing.T) {
	s, gate, _ := orderShop(t, poe.Config{Param: "once"}, as)
	one, err := gate.Mint(t.Context(), "POST", "/orders")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, said := runPoe(t, "post", "--param", "once", s.URL+one.URI, "-d", "a=b"); code != 0 {
		t.Fatal(code, out, said)
	}
	if code, _, said := runPoe(t, "get", "--receipt", s.URL+one.URI); code != exitError || !strings.Contains(said, "--param") {
		t.Errorf("exit code %d, and it said:\n%s", code, said)
	}
}
