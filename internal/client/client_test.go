package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/client"
)

const (
	origin = "https://api.example.com"
	token  = "eyJ0.eyJq.c2ln"
	poeURI = origin + "/orders?x=1&poe=" + token
)

// A script answers one request after the other, without a network, so that time is synctest's.
type script struct {
	t     *testing.T
	steps []reply
	got   []string // "POST /orders?x=1&poe=… body"
}

// A reply is one answer, or the error instead of it.
type reply struct {
	code   int
	state  string
	header http.Header
	body   string
	err    error
	hang   bool
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	line := r.Method + " " + r.URL.RequestURI()
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			s.t.Error(err)
		}
		line += " " + string(b)
	}
	s.got = append(s.got, strings.ReplaceAll(line, token, "T"))
	if len(s.steps) == 0 {
		s.t.Errorf("unexpected %s", line)
		return nil, errors.New("the script is over")
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if step.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if step.err != nil {
		return nil, step.err
	}
	w := httptest.NewRecorder()
	for name, values := range step.header {
		w.Header()[name] = values
	}
	if step.state != "" {
		w.Header().Set("POE-State", step.state)
	}
	w.WriteHeader(step.code)
	if _, err := w.WriteString(step.body); err != nil {
		return nil, err
	}
	res := w.Result()
	res.Request = r
	return res, nil
}

func problem(name, retry string) http.Header {
	return http.Header{"Content-Type": {"application/problem+json"}, "X-Problem": {name, retry}}
}

// poe is an answer of poe's own.
func poe(code int, state, name, retry string) reply {
	return reply{
		code: code, state: state, header: problem(name, retry),
		body: fmt.Sprintf(`{"type":"/poe/problems/%s","title":"T","status":%d,"retry":%q}`, name, code, retry),
	}
}

func after(r reply, seconds string) reply {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("Retry-After", seconds)
	return r
}

// another is r to a request that was not the one that it is about.
func another(r reply) reply {
	r.body = strings.TrimSuffix(r.body, "}") + `,"request_matches":false}`
	return r
}

// elsewhere is r with its type below another prefix than the one that the client knows.
func elsewhere(r reply) reply {
	r.body = strings.Replace(r.body, "/poe/problems/", "/api/problems/", 1)
	return r
}

var (
	minted   = reply{code: 200, body: `{"uris":[{"uri":"/orders?x=1&poe=` + token + `","id":"i","expires":"2026-11-21T00:00:00Z"}]}`}
	created  = reply{code: 201, state: `done;id="i";status=201`, body: "order 1"}
	consumed = poe(405, `done;id="i";status=201`, "consumed", "never")
	stored   = reply{code: 200, state: `done;id="i";status=201;replayed`, body: "order 1"}
	running  = after(poe(409, `running;id="i"`, "running", "same"), "1")
	unknown  = poe(409, `unknown;id="i"`, "outcome-unknown", "same")
	nowhere  = &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	cut      = &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
)

const (
	mintLine  = "GET /poe/new?for=%2Forders%3Fx%3D1&method=POST"
	postLine  = "POST /orders?x=1&poe=T data"
	fetchLine = "GET /orders?x=1&poe=T"
	probeLine = "HEAD /orders?x=1&poe=T"
)

func TestPost(t *testing.T) {
	tests := []struct {
		name    string
		url     string // origin + "/orders?x=1" if empty
		steps   []reply
		want    []string // the requests
		notices []string
		body    string // of the answer
		ok      bool
		err     string
	}{
		{name: "at once", steps: []reply{minted, created}, want: []string{mintLine, postLine}, body: "order 1", ok: true},
		{name: "redirect is an outcome", steps: []reply{minted, {code: 303, state: "done;status=303", header: http.Header{"Location": {"/elsewhere"}}}},
			want: []string{mintLine, postLine}, ok: true},
		{name: "redirect to what is no address", steps: []reply{minted, {code: 303, state: "done;status=303", header: http.Header{"Location": {"/orders/50%off"}}, body: "there"}},
			want: []string{mintLine, postLine}, body: "there", ok: true},
		{name: "a POE URI needs no minting", url: poeURI, steps: []reply{created}, want: []string{postLine}, body: "order 1", ok: true},
		{name: "refused by the application", steps: []reply{minted, {code: 422, state: "unused", body: "no"}},
			want: []string{mintLine, postLine}, body: "no"},
		{name: "a conflict of the application", steps: []reply{minted, {code: 409, state: "unused", body: "no"}},
			want: []string{mintLine, postLine}, body: "no"},
		{name: "a failure is an outcome", steps: []reply{minted, {code: 500, state: "done;status=500", body: "oops"}},
			want: []string{mintLine, postLine}, body: "oops"},
		{name: "done before", url: poeURI, steps: []reply{consumed, stored}, want: []string{postLine, fetchLine}, body: "order 1", ok: true},
		{name: "done before, with a failure", url: poeURI, steps: []reply{poe(405, "done;status=500", "consumed", "never"), {code: 500, state: "done;status=500;replayed", body: "oops"}},
			want: []string{postLine, fetchLine}, body: "oops"},
		{name: "done before, a success that was not kept", url: poeURI,
			steps: []reply{consumed, poe(410, "done;status=201", "outcome-purged", "never")},
			want:  []string{postLine, fetchLine}, ok: true,
			body: `{"type":"/poe/problems/outcome-purged","title":"T","status":410,"retry":"never"}`},
		{name: "lost, then done before", steps: []reply{minted, {err: cut}, {code: 200, state: "done"}, consumed, {err: cut}, stored},
			want:    []string{mintLine, postLine, probeLine, postLine, fetchLine, fetchLine},
			notices: []string{"the connection was lost (connection reset by peer); trying the same URI again (2)", "the connection was lost (connection reset by peer); fetching the outcome again (3)"},
			body:    "order 1", ok: true},
		{name: "server away, then back", steps: []reply{{err: nowhere}, minted, {err: nowhere}, {err: nowhere}, created},
			want:    []string{mintLine, mintLine, postLine, postLine, postLine},
			notices: []string{"there is no connection (connection refused); asking for a POE URI again (2)", "there is no connection (connection refused); trying the same URI again (3)", "there is no connection (connection refused); trying the same URI again (4)"},
			body:    "order 1", ok: true},
		{name: "hanging", steps: []reply{minted, {hang: true}, {code: 202, state: "running"}, running, created}, want: []string{mintLine, postLine, probeLine, postLine, postLine},
			notices: []string{"there was no answer in time; trying the same URI again (2)", "it is being executed; trying the same URI again (3)"},
			body:    "order 1", ok: true},
		{name: "running, then done", steps: []reply{minted, running, running, consumed, stored},
			want:    []string{mintLine, postLine, postLine, postLine, fetchLine},
			notices: []string{"it is being executed; trying the same URI again (2)", "it is being executed; trying the same URI again (3)"},
			body:    "order 1", ok: true},
		{name: "not executed", steps: []reply{minted, poe(502, "unused", "not-executed", "same"), poe(503, "unused", "not-executed", "same"), poe(504, "unused", "not-executed", "same"), created},
			want: []string{mintLine, postLine, postLine, postLine, postLine},
			notices: []string{"it was not executed (502 Bad Gateway); trying the same URI again (2)", "it was not executed (503 Service Unavailable); trying the same URI again (3)",
				"it was not executed (504 Gateway Timeout); trying the same URI again (4)"},
			body: "order 1", ok: true},
		{name: "released", steps: []reply{minted, {code: 429, state: "unused"}, {code: 425, state: "unused"}, {code: 408, state: "unused"}, created},
			want: []string{mintLine, postLine, postLine, postLine, postLine},
			notices: []string{"it was not executed (429 Too Many Requests); trying the same URI again (2)", "it was not executed (425 Too Early); trying the same URI again (3)",
				"it was not executed (408 Request Timeout); trying the same URI again (4)"},
			body: "order 1", ok: true},
		{name: "ledger unavailable, with and without a state", steps: []reply{minted, poe(503, "unused", "ledger-unavailable", "same"), poe(503, "", "ledger-unavailable", "same"), created},
			want:    []string{mintLine, postLine, postLine, postLine},
			notices: []string{"it was not executed (503 Service Unavailable); trying the same URI again (2)", "the server cannot keep its records right now; trying the same URI again (3)"},
			body:    "order 1", ok: true},
		{name: "cut off body", steps: []reply{minted, poe(400, "unused", "incomplete-body", "same"), created}, want: []string{mintLine, postLine, postLine},
			notices: []string{"it was refused for now (400 incomplete-body); trying the same URI again (2)"}, body: "order 1", ok: true},
		{name: "unknown, then settled by somebody", steps: []reply{minted, poe(502, "unknown", "outcome-unknown", "same"), unknown, consumed, stored},
			want:    []string{mintLine, postLine, postLine, postLine, fetchLine},
			notices: []string{"nobody knows yet whether it was executed; trying the same URI again (2)", "nobody knows yet whether it was executed; trying the same URI again (3)"},
			body:    "order 1", ok: true},
		{name: "a gateway's word about somebody else", steps: []reply{minted, {code: 520, state: "unknown"}, consumed, stored},
			want:    []string{mintLine, postLine, postLine, fetchLine},
			notices: []string{"nobody knows yet whether it was executed; trying the same URI again (2)"}, body: "order 1", ok: true},
		{name: "an answer that the ledger could not store", steps: []reply{minted, {code: 201, state: "unknown", body: "order 1"}},
			want: []string{mintLine, postLine}, body: "order 1", ok: true},
		{name: "the outcome is gone between two requests", url: poeURI, steps: []reply{consumed, {code: 202, state: "unknown"}, consumed, stored},
			want: []string{postLine, fetchLine, postLine, fetchLine}, notices: []string{"the outcome is not there; trying the same URI again (2)"}, body: "order 1", ok: true},

		{name: "done before, something else", url: poeURI, steps: []reply{another(consumed)}, want: []string{postLine}, err: client.ErrOtherRequest.Error()},
		{name: "done before, something else, below another prefix", url: poeURI, steps: []reply{elsewhere(another(consumed))}, want: []string{postLine}, err: client.ErrOtherRequest.Error()},
		{name: "a problem of the application's that speaks of matches", steps: []reply{minted, elsewhere(another(poe(409, "unused", "conflict", "never")))},
			want: []string{mintLine, postLine}, body: `{"type":"/api/problems/conflict","title":"T","status":409,"retry":"never","request_matches":false}`},
		{name: "unknown, something else", url: poeURI, steps: []reply{another(unknown)}, want: []string{postLine}, err: client.ErrOtherRequest.Error()},
		{name: "burned", url: poeURI, steps: []reply{poe(410, "burned", "burned", "new")}, want: []string{postLine}, err: "410 burned: T"},
		{name: "refused method", url: poeURI, steps: []reply{poe(501, "unused", "method-refused", "never")}, want: []string{postLine}, err: "501 method-refused: T"},
		{name: "forged", url: poeURI, steps: []reply{poe(404, "", "not-found", "never")}, want: []string{postLine}, err: "404 not-found: T"},
		{name: "of another principal", url: poeURI, steps: []reply{consumed, poe(403, "", "other-principal", "never")},
			want: []string{postLine, fetchLine}, err: "403 other-principal: T; it was executed, and only its outcome is not shown"},
		{name: "done before, and the application does not show it", url: poeURI, steps: []reply{consumed, {code: 403}}, want: []string{postLine, fetchLine},
			err: "it was executed, but its outcome is not shown: the answer to the GET is 403, without POE-State"},
		{name: "done before, and the application does not say who may see it", url: poeURI, steps: []reply{consumed, poe(503, "", "authorization-unavailable", "same"), stored},
			want:    []string{postLine, fetchLine, fetchLine},
			notices: []string{"the application could not say whether the outcome may be shown; fetching the outcome again (2)"}, body: "order 1", ok: true},
		{name: "lost, and then another ledger", steps: []reply{minted, {err: cut}, {code: 404}, poe(404, "", "not-found", "never")}, want: []string{mintLine, postLine, probeLine, fetchLine},
			notices: []string{"the connection was lost (connection reset by peer); trying the same URI again (2)"}, err: "404 not-found: T; an earlier try may have been executed all the same"},
		{name: "running, and then another ledger", steps: []reply{minted, running, poe(404, "", "not-found", "never")}, want: []string{mintLine, postLine, postLine},
			notices: []string{"it is being executed; trying the same URI again (2)"}, err: "404 not-found: T; an earlier try may have been executed all the same"},
		{name: "not executed, and then another ledger", steps: []reply{minted, {err: cut}, {code: 200, state: "unused"}, poe(503, "unused", "not-executed", "same"), {err: nowhere}, poe(404, "", "not-found", "never")},
			want:    []string{mintLine, postLine, probeLine, postLine, postLine, postLine},
			notices: []string{"the connection was lost (connection reset by peer); trying the same URI again (2)", "it was not executed (503 Service Unavailable); trying the same URI again (3)", "there is no connection (connection refused); trying the same URI again (4)"},
			err:     "404 not-found: T"},

		{name: "not guarded", url: poeURI, steps: []reply{{code: 201, body: "order 1"}}, want: []string{postLine},
			err: "this is not guarded by poe: the answer to the POST is 201, without POE-State"},
		{name: "not guarded, 405", url: poeURI, steps: []reply{{code: 405}}, want: []string{postLine},
			err: "this is not guarded by poe: the answer to the POST is 405, without POE-State"},
		{name: "not guarded, 503", url: poeURI, steps: []reply{after(reply{code: 503}, "1")}, want: []string{postLine},
			err: "poe does not answer there: the answer to the POST is 503, without POE-State"},
		{name: "not guarded, a problem of the application's", url: poeURI, steps: []reply{{code: 503, header: problem("", ""), body: `{"type":"/problems/ledger-unavailable","retry":"same"}`}},
			want: []string{postLine}, err: "poe does not answer there: the answer to the POST is 503, without POE-State"},
		{name: "not guarded, a garbled state", url: poeURI, steps: []reply{{code: 409, state: "running;;"}}, want: []string{postLine},
			err: "this is not guarded by poe: the answer to the POST is 409, without POE-State"},
		{name: "not guarded, the outcome", url: poeURI, steps: []reply{consumed, {code: 200}}, want: []string{postLine, fetchLine},
			err: "it was executed, but its outcome is not shown: the answer to the GET is 200, without POE-State"},
		{name: "running, and then a proxy", url: poeURI, steps: []reply{running, {code: 502}}, want: []string{postLine, postLine},
			notices: []string{"it is being executed; trying the same URI again (2)"},
			err:     "poe does not answer there any more: the answer to the POST is 502, without POE-State"},
		{name: "lost, and nobody vouches for the URI", url: poeURI, steps: []reply{{err: cut}, {code: 200}}, want: []string{postLine, probeLine},
			notices: []string{"the connection was lost (connection reset by peer); trying the same URI again (2)"},
			err:     "this is not guarded by poe: the answer to the HEAD is 200, without POE-State"},
		{name: "lost, and poe vouches for the URI", url: poeURI, steps: []reply{{err: cut}, {err: nowhere}, {code: 202, state: "running"}, {err: cut}, created},
			want:    []string{postLine, probeLine, probeLine, postLine, postLine},
			notices: []string{"the connection was lost (connection reset by peer); trying the same URI again (2)", "there is no connection (connection refused); trying the same URI again (3)", "the connection was lost (connection reset by peer); trying the same URI again (4)"},
			body:    "order 1", ok: true},

		{name: "nothing mints there", steps: []reply{{code: 404}}, want: []string{mintLine}, err: "no POE URI can be had there: the answer is 404 and no list of URIs"},
		{name: "something else answers", steps: []reply{{code: 200, body: "<html>"}}, want: []string{mintLine}, err: "no POE URI can be had there: the answer is 200 and no list of URIs"},
		{name: "an empty list", steps: []reply{{code: 200, body: `{"uris":[]}`}}, want: []string{mintLine}, err: "no POE URI can be had there: the answer is 200 and no list of URIs"},
		{name: "a URI of another server", steps: []reply{{code: 200, body: `{"uris":[{"uri":"https://evil.example.com/orders?poe=a"}]}`}},
			want: []string{mintLine}, err: "the address that was minted is no POE URI of that server"},
		{name: "a URI without a token", steps: []reply{{code: 200, body: `{"uris":[{"uri":"/orders"}]}`}},
			want: []string{mintLine}, err: "the address that was minted is no POE URI of that server"},
		{name: "minting refused", steps: []reply{poe(404, "", "unknown-target", "never")}, want: []string{mintLine}, err: "404 unknown-target: T"},
		{name: "minting refused for now", steps: []reply{poe(503, "", "ledger-unavailable", "same"), {code: 502}, minted, created}, want: []string{mintLine, mintLine, mintLine, postLine},
			notices: []string{"the server cannot mint right now; asking for a POE URI again (2)", "there is no server behind this address right now (502); asking for a POE URI again (3)"}, body: "order 1", ok: true},
		{name: "no such host", steps: []reply{{err: &net.DNSError{Err: "no such host", IsNotFound: true}}}, want: []string{mintLine}, err: "minting: lookup : no such host"},
		{name: "no such host for a POE URI", url: poeURI, steps: []reply{{err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}}}, want: []string{postLine},
			err: "nothing was sent: dial: lookup : no such host"},
		{name: "no such host after a while", url: poeURI, steps: []reply{running, {err: &net.DNSError{Err: "no such host", IsNotFound: true}}, created}, want: []string{postLine, postLine, postLine},
			notices: []string{"it is being executed; trying the same URI again (2)", "the server's name cannot be looked up (no such host); trying the same URI again (3)"}, body: "order 1", ok: true},
		{name: "not a URL", url: "orders", err: "the address is not a URL that begins with http:// or https://"},
		{name: "a percent sign", url: "https://api.example.com/50%off", err: "the address has a percent sign that encodes nothing: such a one is written %25"},
		{name: "no such port", url: "https://api.example.com:80800/orders", err: "the address has no port from 1 to 65535"},
		{name: "too large", url: poeURI, steps: []reply{{code: 200, state: "done", body: strings.Repeat("x", 1025)}}, want: []string{postLine}, err: "the answer is too large: more than 1024 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, steps: tt.steps}
				var notices []string
				c := client.New(client.Config{Transport: s, MaxBody: 1024, Notice: func(n client.Notice) {
					notices = append(notices, fmt.Sprintf("%s; %s (%d)", n.Why, n.What, n.Attempt))
				}})
				if tt.url == "" {
					tt.url = origin + "/orders?x=1#part"
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				a, err := c.Post(ctx, client.PostRequest{URL: tt.url, Body: client.Body{Type: "text/plain", Data: []byte("data")}})
				if got := fmt.Sprint(err); got != tt.err && (err != nil || tt.err != "") {
					t.Errorf("error is %q, want %q", got, tt.err)
				}
				if err == nil && (string(a.Body) != tt.body || a.OK() != tt.ok) {
					t.Errorf("got %d %q, OK %v, want %q, OK %v", a.Code, a.Body, a.OK(), tt.body, tt.ok)
				}
				if diff := cmp.Diff(tt.want, s.got); diff != "" {
					t.Errorf("requests (-want +got)\n%s", diff)
				}
				if diff := cmp.Diff(tt.notices, notices); diff != "" {
					t.Errorf("notices (-want +got)\n%s", diff)
				}
				if len(s.steps) != 0 {
					t.Errorf("%d steps are left", len(s.steps))
				}
			})
		})
	}
}

// TestPostGivesUp also pins what is said then: it must never promise what is not known.
func TestPostGivesUp(t *testing.T) {
	tests := []struct {
		name  string
		url   string
		first []reply // before rest, which repeats for ever
		rest  reply
		want  client.UnsettledError
		text  string
	}{
		{"nothing minted", origin + "/orders?x=1", nil, reply{err: nowhere}, client.UnsettledError{}, "the time is over: nothing was sent so far; there is no connection (connection refused)"},
		{"no connection for the POST", poeURI, nil, reply{err: nowhere}, client.UnsettledError{}, "the time is over: nothing was sent so far; there is no connection (connection refused)"},
		{"lost", poeURI, nil, reply{err: cut}, client.UnsettledError{Sent: true}, "the time is over: it was sent, and nobody here knows whether it was executed; the connection was lost (connection reset by peer)"},
		{"hanging", poeURI, nil, reply{hang: true}, client.UnsettledError{Sent: true}, "the time is over: it was sent, and nobody here knows whether it was executed; there was no answer yet"},
		{"not executed", poeURI, nil, poe(503, "unused", "not-executed", "same"), client.UnsettledError{Sent: true, State: "unused"}, "the time is over: it was not executed so far"},
		{"not executed, and then lost", poeURI, []reply{poe(503, "unused", "not-executed", "same")}, reply{err: cut}, client.UnsettledError{Sent: true}, "the time is over: it was sent, and nobody here knows whether it was executed; the connection was lost (connection reset by peer)"},
		{"not executed, and then refused", poeURI, []reply{poe(503, "unused", "not-executed", "same")}, reply{err: nowhere}, client.UnsettledError{Sent: true, State: "unused"}, "the time is over: it was not executed so far; there is no connection (connection refused)"},
		{"running", poeURI, nil, running, client.UnsettledError{Sent: true, State: "running"}, "the time is over: it is still being executed"},
		{"running, and then refused", poeURI, []reply{running}, reply{err: nowhere}, client.UnsettledError{Sent: true}, "the time is over: it was sent, and nobody here knows whether it was executed; there is no connection (connection refused)"},
		{"done, and then lost", poeURI, []reply{consumed, poe(503, "", "ledger-unavailable", "same")}, reply{err: cut}, client.UnsettledError{Sent: true, State: "done"}, "the time is over: it was executed, but the outcome could not be fetched; the connection was lost (connection reset by peer)"},
		{"the ledger cannot be asked", poeURI, nil, poe(503, "", "ledger-unavailable", "same"), client.UnsettledError{Sent: true}, "the time is over: it was sent, and nobody here knows whether it was executed; the server cannot keep its records right now"},
		{"the ledger cannot be asked how it stands", poeURI, nil, poe(503, "unknown", "ledger-unavailable", "same"), client.UnsettledError{Sent: true, State: "unknown"}, "the time is over: it was sent, and nobody knows whether it was executed; the server cannot keep its records right now"},
		{"lost, and then a proxy", poeURI, []reply{{err: cut}}, reply{code: 503}, client.UnsettledError{Sent: true}, "the time is over: it was sent, and nobody here knows whether it was executed; there is no server behind this address right now (503)"},
		{"done, and then a proxy", poeURI, []reply{consumed}, reply{code: 503}, client.UnsettledError{Sent: true, State: "done"}, "the time is over: it was executed, but the outcome could not be fetched; there is no server behind this address right now (503)"},
		{"unknown", poeURI, nil, unknown, client.UnsettledError{Sent: true, State: "unknown"}, "the time is over: it was sent, and nobody knows whether it was executed"},
		{"unknown, and then lost", poeURI, []reply{unknown}, reply{err: cut}, client.UnsettledError{Sent: true, State: "unknown"}, "the time is over: it was sent, and nobody knows whether it was executed; the connection was lost (connection reset by peer)"},
		{"done, and the outcome is out of reach", poeURI, []reply{consumed}, reply{err: cut}, client.UnsettledError{Sent: true, State: "done"}, "the time is over: it was executed, but the outcome could not be fetched; the connection was lost (connection reset by peer)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, steps: tt.first}
				for range 200 {
					s.steps = append(s.steps, tt.rest)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				begin, waited := time.Now(), 0
				_, err := client.New(client.Config{Transport: s, Notice: func(client.Notice) { waited++ }}).Post(ctx, client.PostRequest{URL: tt.url})
				if took := time.Since(begin); took != 5*time.Minute {
					t.Errorf("it took %s", took)
				}
				var got *client.UnsettledError
				if !errors.As(err, &got) {
					t.Fatalf("error is %v", err)
				}
				if got.Sent != tt.want.Sent || got.State != tt.want.State || got.Error() != tt.text {
					t.Errorf("got %+v: %v", got, got)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is not DeadlineExceeded", err)
				}
				// Chance makes each pause from half as long to half as long again: 19 s at least for the first nine, which grow, 7.5 s for
				// each that follows, 9 + 281/7.5 of them. What was lost is asked for and sent again after each.
				if n := len(s.got); n < 5 || waited > 47 || n > 2*waited+1 || !tt.want.Sent && n > waited+1 {
					t.Errorf("%d pauses and %d requests in five minutes", waited, n)
				}
			})
		})
	}
}

func TestPostInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &script{t: t, steps: []reply{running}}
		c := client.New(client.Config{Transport: s, Notice: func(client.Notice) { cancel() }})
		_, err := c.Post(ctx, client.PostRequest{URL: poeURI})
		if err == nil || err.Error() != "interrupted: it is still being executed" {
			t.Error(err)
		}
	})
}

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		s := &script{t: t}
		for range 20 {
			s.steps = append(s.steps, unknown)
		}
		dated := after(unknown, "Sat, 21 Nov 2026 10:02:00 GMT")
		dated.header.Set("Date", "Sat, 21 Nov 2026 10:00:00 GMT")
		s.steps = append(s.steps, after(unknown, "90"), dated, after(unknown, "soon"), consumed, stored)
		c := client.New(client.Config{Transport: s, Notice: func(n client.Notice) { waits = append(waits, n.Wait) }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := c.Post(ctx, client.PostRequest{URL: poeURI}); err != nil {
			t.Fatal(err)
		}
		want := 500 * time.Millisecond
		for i, got := range waits[:20] {
			if got < want/2 || got > want*3/2 {
				t.Errorf("pause %d is %s, want %s ± 50 %%", i, got, want)
			}
			want = min(want*3/2, 15*time.Second)
		}
		if waits[20] != 90*time.Second || waits[21] != 2*time.Minute || waits[22] > 23*time.Second {
			t.Errorf("Retry-After: got %s", waits[20:])
		}
	})
}

func TestPostSaysWhatItMinted(t *testing.T) {
	s := &script{t: t, steps: []reply{minted, created}}
	var got string
	if _, err := client.New(client.Config{Transport: s}).Post(t.Context(), client.PostRequest{URL: origin + "/orders?x=1", Minted: func(u string) { got = u }}); err != nil {
		t.Fatal(err)
	}
	if got != poeURI {
		t.Errorf("got %q, want %q", got, poeURI)
	}
}

func TestMint(t *testing.T) {
	tests := []struct {
		name string
		req  client.MintRequest
		want string
	}{
		{"path", client.MintRequest{URL: origin + "/orders"}, "/poe/new?for=%2Forders"},
		{"no path", client.MintRequest{URL: origin}, "/poe/new?for=%2F"},
		{"query, as it is", client.MintRequest{URL: origin + "/a%2Fb?x=a+b&y=%20&z#f"}, "/poe/new?for=%2Fa%252Fb%3Fx%3Da%2Bb%26y%3D%2520%26z"},
		{"a space is no plus", client.MintRequest{URL: origin + "/a?x=a b"}, "/poe/new?for=%2Fa%3Fx%3Da%20b"},
		{"everything", client.MintRequest{URL: origin + "/a", Method: "DELETE", Count: 3, TTL: 90 * time.Second}, "/poe/new?count=3&for=%2Fa&method=DELETE&ttl=1m30s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{t: t, steps: []reply{minted}}
			got, err := client.New(client.Config{Transport: s}).Mint(t.Context(), tt.req)
			if err != nil {
				t.Fatal(err)
			}
			want := []client.Minted{{URI: poeURI, ID: "i", Expires: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff([]string{"GET " + tt.want}, s.got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A target is signed octet for octet, so what is minted is used as it was minted.
func TestMintedAsItIs(t *testing.T) {
	for _, target := range []string{"/a/../b", "/a/./b", "/a/.", "/%2e%2e/b", "/a//b", "/a%2Fb", "/a?x=../y"} {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"uris": []map[string]any{{"uri": target + sep + "poe=T", "id": "x"}}})
		}))
		all, err := client.New(client.Config{}).Mint(t.Context(), client.MintRequest{URL: s.URL + target})
		s.Close()
		if err != nil || all[0].URI != s.URL+target+sep+"poe=T" {
			t.Errorf("%s: %v, %v", target, all, err)
		}
	}
}

func TestMintRefusesAPOEURI(t *testing.T) {
	_, err := client.New(client.Config{Transport: &script{t: t}}).Mint(t.Context(), client.MintRequest{URL: poeURI})
	if err == nil || err.Error() != "the address is a POE URI already" {
		t.Error(err)
	}
}

func TestGet(t *testing.T) {
	outcome := origin + "/poe/outcomes/R"
	tests := []struct {
		name    string
		url     string
		receipt bool
		steps   []reply
		want    []string
		err     string
	}{
		{name: "outcome", url: outcome, steps: []reply{stored}, want: []string{"GET /poe/outcomes/R"}},
		{name: "POE URI", url: poeURI, steps: []reply{stored}, want: []string{fetchLine}},
		{name: "how far it is", url: poeURI, steps: []reply{{code: 202, state: "running"}}, want: []string{fetchLine}},
		{name: "receipt of an outcome", url: outcome, receipt: true, steps: []reply{stored}, want: []string{"GET /poe/outcomes/R/receipt"}},
		{name: "receipt of a receipt", url: outcome + "/receipt", receipt: true, steps: []reply{stored}, want: []string{"GET /poe/outcomes/R/receipt"}},
		{name: "receipt of a POE URI", url: poeURI, receipt: true, steps: []reply{
			{code: 200, state: "done", header: http.Header{"Link": {
				`</status>; rel="status", </poe/outcomes/X>; rel=next`, `<a>; title="a, <b>; rel=status", </poe/outcomes/R>; anchor="/orders?a,b"; rel="status"`}}},
			stored,
		}, want: []string{probeLine, "GET /poe/outcomes/R/receipt"}},
		{name: "receipt by the link as we write it", url: poeURI, receipt: true, steps: []reply{
			{code: 200, state: "done", header: http.Header{"Link": {`</poe/outcomes/R>; rel="status"; anchor=""`}}}, stored,
		}, want: []string{probeLine, "GET /poe/outcomes/R/receipt"}},
		{name: "no receipt yet", url: poeURI, receipt: true, steps: []reply{{code: 200, state: "unused"}}, want: []string{probeLine}, err: "there is no receipt: the POE URI is unused"},
		{name: "outcome of another server", url: poeURI, receipt: true, want: []string{probeLine}, err: "there is no receipt: the POE URI is done", steps: []reply{
			{code: 200, state: "done", header: http.Header{"Link": {`<https://evil.example.com/poe/outcomes/R>; rel="status"`}}},
		}},
		{name: "not guarded", url: outcome, steps: []reply{{code: 200}}, want: []string{"GET /poe/outcomes/R"}, err: "poe does not answer there: the answer to the GET is 200, without POE-State"},
		{name: "forged", url: outcome, steps: []reply{poe(404, "", "not-found", "never")}, want: []string{"GET /poe/outcomes/R"}, err: "404 not-found: T"},
		{name: "lost", url: outcome, steps: []reply{{err: cut}}, want: []string{"GET /poe/outcomes/R"}, err: "getting the outcome: read: connection reset by peer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{t: t, steps: tt.steps}
			c := client.New(client.Config{Transport: s})
			get := c.Get
			if tt.receipt {
				get = c.Receipt
			}
			_, err := get(t.Context(), tt.url)
			if got := fmt.Sprint(err); got != tt.err && (err != nil || tt.err != "") {
				t.Errorf("error is %q, want %q", got, tt.err)
			}
			if diff := cmp.Diff(tt.want, s.got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestErrorsKeepTheToken walks what reaches a person's screen: an error must not show the token.
func TestErrorsKeepTheToken(t *testing.T) {
	c := client.New(client.Config{Attempt: time.Second})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(t.Context(), "http://"+addr+"/orders?poe="+token)
	if err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("got %v", err)
	}
}
