package core_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

const (
	formBody    = "--b\r\nContent-Disposition: form-data; name=\"item\"\r\n\r\nTeapot\r\n--b--\r\n"
	asMultipart = "Content-Type: multipart/form-data; boundary=b"
	asForm      = "Content-Type: application/x-www-form-urlencoded"
)

// A multipart request that was refused, and another one, that is not multipart, which was executed with the same URI. Who sends the first one again is told that it was executed.
func TestDigestOfAnEarlierAttempt(t *testing.T) {
	b := newBench(t, nil)
	b.app = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		w.WriteHeader(http.StatusCreated)
	}
	uri := b.mint("/orders")
	if res := b.do("POST", uri, formBody, asMultipart); res.StatusCode != 422 {
		t.Fatal(res.StatusCode)
	}
	if res := b.do("POST", uri, "item=Cup&note="+strings.Repeat("x", 300<<10), asForm); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	var p map[string]any
	_ = json.Unmarshal([]byte(text(t, b.do("POST", uri, formBody, asMultipart))), &p)
	if p["request_matches"] == true {
		t.Errorf("the Teapot was refused, and a Cup was ordered; who orders the Teapot again is told: %v", p)
	}
}

// The first one is unknown, and an operator says that it was not done. Another request gets its Idempotency-Key: an application that knows keys answers with the first one's.
func TestKeyOfAnotherRequest(t *testing.T) {
	b, u := recovering(t, core.Route{})
	i := b.issue("/orders")
	u.says(breaks)
	b.do("POST", i.URI, formBody, asMultipart)
	b.wantState(i.ID, store.Unknown)
	b.decide(decision(i.ID, core.AsUnused))
	u.says(answers(201, ""))
	b.do("POST", i.URI, "item=Cup&note="+strings.Repeat("x", 300<<10), asForm)
	sent := u.sent()
	if len(sent) != 2 {
		t.Fatal(len(sent))
	}
	keys := []string{sent[0].key, sent[1].key}
	if keys[0] == keys[1] {
		t.Errorf("%.20q and %.20q are sent with the same Idempotency-Key %v", sent[0].body, sent[1].body, keys)
	}
}
