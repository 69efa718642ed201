package client

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Answer is an HTTP answer, read to its end.
type Answer struct {
	Proto  string // "HTTP/1.1"
	Status string // "201 Created"
	Code   int
	Header http.Header
	Body   []byte
	State  State // what POE-State says; the zero State if it says nothing
}

// State is what POE-State says of the action: where it stands, and how it came out.
type State struct {
	Name   string // "done", "unknown", …; "": the answer is not guarded
	Status int    // of the outcome; 0 where there is none
}

// OK tells whether what was asked for was done: whether the outcome, or where the answer is not about one the answer
// itself, is a success or a redirect.
func (a Answer) OK() bool {
	code := a.Code
	if a.State.Name == "done" && a.State.Status != 0 {
		code = a.State.Status
	}
	return code >= 200 && code < 400
}

// Purged tells whether an answer says that the action was executed, and that its own was not kept. That is poe's own word, also where its prefix is not the
// one that we were told.
func (a Answer) Purged() bool {
	p, ok := a.problem()
	return ok && a.State.Name == "done" && p.Name() == "outcome-purged"
}

func newAnswer(res *http.Response, body []byte) Answer {
	return Answer{
		Proto: res.Proto, Status: res.Status, Code: res.StatusCode,
		Header: res.Header, Body: body, State: parseState(res.Header.Values("POE-State")),
	}
}

// parseState reads POE-State, an RFC 9651 item. What is malformed or doubled says nothing.
func parseState(values []string) State {
	if len(values) == 0 {
		return State{}
	}
	item, err := httpsfv.UnmarshalItem(values)
	name, ok := item.Value.(httpsfv.Token)
	if err != nil || !ok {
		return State{}
	}
	s := State{Name: string(name)}
	if v, ok := item.Params.Get("status"); ok {
		n, _ := v.(int64)
		s.Status = int(n)
	}
	return s
}

// Problem is an RFC 9457 problem that poe itself reports.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Status int    `json:"status"`
	Retry  string `json:"retry"` // same, new or never

	RequestMatches *bool `json:"request_matches"` // whether the body is the one that the action had; nil: nobody knows
}

// Name returns the last part of the problem's type: "burned".
func (p Problem) Name() string { return p.Type[strings.LastIndexByte(p.Type, '/')+1:] }

// problem returns the problem that an answer is, if it is one of poe's and not one of the application's.
func (c *Client) problem(a Answer) (Problem, bool) {
	p, ok := a.problem()
	return p, ok && strings.Contains(p.Type, c.cfg.Prefix+"problems/")
}

// problem returns the problem that an answer is, whoever says it.
func (a Answer) problem() (p Problem, ok bool) {
	media, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	return p, err == nil && media == "application/problem+json" && json.Unmarshal(a.Body, &p) == nil
}

// aboutAnother tells whether an answer says that the action had another body than the request. 405 and 409 in these states are poe's own words, also where
// its prefix is not the one that we were told.
func (a Answer) aboutAnother() bool {
	own := a.Code == http.StatusMethodNotAllowed && a.State.Name == "done" || a.Code == http.StatusConflict && a.State.Name != "done" && a.State.Name != "unused"
	p, ok := a.problem()
	return own && ok && p.RequestMatches != nil && !*p.RequestMatches
}

// retryAfter returns how long the server asks to wait, 0 if it does not. A date is compared with the server's own.
func (a Answer) retryAfter() time.Duration {
	value := a.Header.Get("Retry-After")
	if n, err := strconv.Atoi(value); err == nil && n > 0 {
		return time.Duration(min(n, 86400)) * time.Second
	}
	then, err1 := http.ParseTime(value)
	now, err2 := http.ParseTime(a.Header.Get("Date"))
	if err1 != nil || err2 != nil {
		return 0
	}
	return max(0, then.Sub(now))
}

// outcomeLink returns the address of the outcome that an answer links to, "" if it links to none. An application may
// link to a status of its own; poe's is below its prefix.
func (c *Client) outcomeLink(a Answer) string {
	for _, field := range a.Header.Values("Link") {
		for field != "" {
			target, params, rest := nextLink(field)
			for param := range strings.SplitSeq(params, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
				if strings.EqualFold(name, "rel") && strings.EqualFold(strings.Trim(value, `"`), "status") &&
					strings.HasPrefix(target, c.cfg.Prefix+"outcomes/") {
					return target
				}
			}
			field = rest
		}
	}
	return ""
}

// nextLink splits one link off a Link field (RFC 8288, section 3): its target, its parameters, and what follows its comma.
func nextLink(field string) (target, params, rest string) {
	_, field, _ = strings.Cut(field, "<")
	target, field, _ = strings.Cut(field, ">")
	quoted := false
	for i, r := range field {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			return target, field[:i], field[i+1:]
		}
	}
	return target, field, ""
}
