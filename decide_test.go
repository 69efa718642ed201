package poe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

// What nobody knows the end of, and no recovery looks after, a person of the program finds, and decides about.
func ExampleGate_Decide() {
	ctx := context.Background()
	gate, err := poe.Open(ctx, poe.Config{Store: "memory:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shut(gate)
	orders := gate.Once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	order := func() {
		defer func() { _ = recover() }() // net/http would end the connection
		res := ask(orders, "POST", "/orders", "Idempotency-Key: 1")
		body, _ := io.ReadAll(res.Body)
		fmt.Println(res.StatusCode, string(body))
	}
	order()

	for a, err := range gate.Unknown(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(a.Method, a.Target, "waits for a person:", a.Waits)
		err := gate.Decide(ctx, poe.Decision{
			ID: a.ID, Version: a.Version, Reason: "it is in the books", By: "ann",
			Resolution: poe.Resolution{State: poe.WasDone, Status: http.StatusCreated, Body: []byte("order 1")},
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	order()

	// Output:
	// POST /orders waits for a person: true
	// 201 order 1
}

// unknownAction makes an action whose end is unknown.
func unknownAction(t *testing.T, gate *poe.Gate, h http.Handler) poe.UnknownAction {
	t.Helper()
	func() {
		defer func() { _ = recover() }() // it is the handler's
		ask(h, "POST", "/a", "Idempotency-Key: k")
	}()
	for a, err := range gate.Unknown(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	t.Fatal("nothing is unknown")
	return poe.UnknownAction{}
}

func TestDecide(t *testing.T) {
	begun := 0
	gate := openGate(t, poe.Config{Routes: []poe.Route{{Name: "a", Match: "POST /a"}}})
	h := gate.Once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun++
		panic(http.ErrAbortHandler)
	}))
	first := unknownAction(t, gate, h)
	if first.Attempt != 1 || first.Route != "a" || first.Method != "POST" || first.Target != "/a" || first.Claimed.IsZero() || first.Since.IsZero() ||
		first.Compensation || !first.Waits || first.Why == "" {
		t.Errorf("%+v", first)
	}
	decide := func(a poe.UnknownAction, r poe.Resolution) error {
		return gate.Decide(t.Context(), poe.Decision{ID: a.ID, Version: a.Version, Reason: "I know", Resolution: r})
	}
	if err := decide(first, poe.Resolution{}); err == nil || errors.Is(err, poe.ErrConflict) {
		t.Errorf("a decision that says nothing: %v", err)
	}
	if err := decide(poe.UnknownAction{Unresolved: poe.Unresolved{ID: "x"}}, poe.Resolution{State: poe.WasNotDone}); !errors.Is(err, poe.ErrNoAction) {
		t.Errorf("an action that is none: %v", err)
	}
	if err := decide(first, poe.Resolution{State: poe.WasNotDone}); err != nil {
		t.Error(err)
	}
	if err := decide(first, poe.Resolution{State: poe.WasNotDone}); !errors.Is(err, poe.ErrConflict) {
		t.Errorf("an action that is decided: %v", err)
	}

	second := unknownAction(t, gate, h) // under the same key
	if begun != 2 || second.ID != first.ID || second.Attempt != 2 {
		t.Errorf("attempt %d of %s", second.Attempt, second.ID)
	}
	done := poe.Resolution{State: poe.WasDone, Status: http.StatusAccepted, Header: http.Header{"X-Order": {"1"}}, Body: []byte("it was")}
	if err := decide(first, done); !errors.Is(err, poe.ErrConflict) {
		t.Errorf("what was known of the attempt before: %v", err)
	}
	if err := decide(second, done); err != nil {
		t.Error(err)
	}
	res := ask(h, "POST", "/a", "Idempotency-Key: k")
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusAccepted || res.Header.Get("X-Order") != "1" || string(body) != "it was" || begun != 2 {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
	for a, err := range gate.Unknown(t.Context()) {
		t.Errorf("still unknown: %+v, %v", a, err)
	}
}

// An answer of a decision is one of HTTP: what none can be is refused.
func TestAnswersOfDecisions(t *testing.T) {
	for _, tc := range []struct {
		answer poe.Resolution
		want   string // of the status line; "": refused
	}{
		{poe.Resolution{}, "200 OK"},
		{poe.Resolution{Status: 204}, "204 No Content"},
		{poe.Resolution{Status: 500, Header: http.Header{"Content-Length": {"7"}}, Body: []byte("nobody knows")}, "500 Internal Server Error"},
		{poe.Resolution{Status: 200, Body: []byte("HTTP/1.1 is old")}, "200 OK"},
		{poe.Resolution{Status: 204, Body: []byte("x")}, ""},
		{poe.Resolution{Header: http.Header{"Loc ation": {"/a"}}}, ""},
		{poe.Resolution{Header: http.Header{"Location": {"/a\r\nX: y"}}}, ""},
		{poe.Resolution{Status: 101}, ""},
		{poe.Resolution{Status: 1000}, ""},
	} {
		gate := openGate(t, poe.Config{})
		h := gate.Once(http.HandlerFunc(broken))
		a := unknownAction(t, gate, h)
		tc.answer.State = poe.WasDone
		err := gate.Decide(t.Context(), poe.Decision{ID: a.ID, Reason: "I know", Resolution: tc.answer})
		if (err == nil) != (tc.want != "") {
			t.Errorf("%+v: %v", tc.answer, err)
		}
		if err != nil {
			if !errors.Is(err, poe.ErrBadDecision) {
				t.Errorf("%+v: %v", tc.answer, err)
			}
			continue
		}
		res := ask(h, "POST", "/a", "Idempotency-Key: k")
		body, _ := io.ReadAll(res.Body)
		if !strings.HasPrefix(res.Status, tc.want) || string(body) != string(tc.answer.Body) {
			t.Errorf("%+v: %s %q", tc.answer, res.Status, body)
		}
	}
}
