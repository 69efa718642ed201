package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// actionsCmd is poe actions.
type actionsCmd struct {
	List    actionsListCmd    `cmd:"" help:"List actions: those of one state, of one route, of some age."`
	Show    actionsShowCmd    `cmd:"" help:"Show all that is known of an action."`
	Resolve actionsResolveCmd `cmd:"" help:"Decide what became of an unknown action: done, unused or failed."`
	Release actionsReleaseCmd `cmd:"" help:"Decide that an unknown action was not executed: it may be, then."`
	Burn    actionsBurnCmd    `cmd:"" help:"Decide that an action will not be executed (any more)."`
}

// actionsListCmd is poe actions list.
type actionsListCmd struct {
	adminFlags
	State string        `placeholder:"STATE" help:"Only those: unused, running, accepted, sent, done, unknown, burned or expired."`
	Route string        `placeholder:"NAME" help:"Only those of that route."`
	Older time.Duration `placeholder:"TIME" help:"Only those whose last attempt began that long ago, or longer."`
	Newer time.Duration `placeholder:"TIME" help:"Only those whose last attempt began that long ago, or less."`
	Limit int           `default:"100" placeholder:"N" help:"At most so many (${default})."`
	After string        `placeholder:"CURSOR" help:"Go on where an earlier list has ended."`
	JSON  bool          `name:"json" help:"As JSON."`
}

// Help is shown after the flags.
func (actionsListCmd) Help() string {
	return `What is unknown, running, accepted or sent is found at once. Everything else is found by reading through the
ledger, which takes its time where that is large.`
}

// A listed is an action in a list.
type listed struct {
	ID, Kind, State, Route, Method, Target, Why string
	ClaimedAt                                   *time.Time `json:"claimed_at"`
	FinishedAt                                  *time.Time `json:"finished_at"`
}

// maxPage is how many actions are asked for at one time.
const maxPage = 100

// Run lists them, page by page until there are enough.
func (c *actionsListCmd) Run(ctx context.Context, t terminal) error {
	if c.Limit < 1 {
		return &usageError{err: fmt.Errorf("--limit: %d is not a number from 1 up", c.Limit), command: "poe actions list"}
	}
	all := []json.RawMessage{}
	next := c.After
	for {
		var page struct {
			Actions []json.RawMessage
			Next    string
		}
		if err := c.operator("poe actions list").get(ctx, "/actions?"+c.query(next, min(c.Limit-len(all), maxPage)), &page); err != nil {
			return err
		}
		if page.Actions == nil {
			return c.operator("poe actions list").another()
		}
		all, next = append(all, page.Actions...), page.Next
		if next == "" || len(all) >= c.Limit {
			break
		}
	}
	if c.JSON {
		var doc bytes.Buffer
		enc := json.NewEncoder(&doc)
		enc.SetEscapeHTML(false) // it stays what it was
		if err := enc.Encode(struct {
			Actions []json.RawMessage `json:"actions"`
			Next    string            `json:"next,omitempty"`
		}{all, next}); err != nil {
			return fmt.Errorf("writing the list: %w", err)
		}
		return t.print("%s", escaped(doc.String()))
	}
	if next != "" {
		defer t.say("there may be more: go on with --after %s", next) // a page that is full does not know whether it is the last
	}
	return c.table(t, all)
}

// query is what is asked for.
func (c *actionsListCmd) query(after string, limit int) string {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"state": c.State, "route": c.Route, "after": after} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, d := range map[string]time.Duration{"older": c.Older, "newer": c.Newer} {
		if d != 0 {
			q.Set(name, d.String())
		}
	}
	return q.Encode()
}

func (c *actionsListCmd) table(t terminal, all []json.RawMessage) error {
	if len(all) == 0 {
		return t.print("there are none\n")
	}
	rows := [][]string{{"ID", "STATE", "SINCE", "ROUTE", "REQUEST", "LAST"}}
	for _, one := range all {
		var a listed
		if err := c.operator("poe actions list").read(string(one), &a); err != nil {
			return err
		}
		since := a.FinishedAt
		if since == nil {
			since = a.ClaimedAt
		}
		request := a.Method + " " + a.Target
		if a.Kind != "request" {
			request = a.Kind + ": " + request
		}
		rows = append(rows, []string{a.ID, a.State, shownTime(since), a.Route, request, a.Why})
	}
	return t.columns(rows)
}

// columns prints rows as a table.
func (t terminal) columns(rows [][]string) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = shown(row[i])
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t")) // Flush has the error
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the list: %w", err)
	}
	return t.print("%s", b.String())
}

// shown is text of others as it is fit for a terminal.
func shown(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// escaped is a document of others as it is fit for a terminal. One in JSON says the same as before: what must not go out as it is can only be in its texts.
func escaped(document string) string {
	var b strings.Builder
	for _, r := range document {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			_, _ = fmt.Fprintf(&b, `\u%04x`, r) // it never fails
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func shownTime(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.Format(time.RFC3339)
}

// An action is what the admin listener tells of one.
type action struct {
	ID, State, Kind, Parent, Door, Route, Method, Target, Outcome, Version string

	Attempts    int
	Bound       bool
	Names       int
	RunningHere bool       `json:"running_here"`
	WaitsFor    string     `json:"waits_for"`
	Due         *time.Time `json:"due"`
	ClaimedAt   *time.Time `json:"claimed_at"`
	FinishedAt  *time.Time `json:"finished_at"`
	Expires     *time.Time `json:"expires"`

	RequestDigest string `json:"request_digest"`
	Request       struct {
		Length int64
		Kept   bool
	}
	Response *struct {
		Status int
		Digest string
		Length *int64 // nil: it was streamed
		Body   string
	}
	History []struct {
		At                 time.Time
		From, To, Who, Why string
		Status             int
	}
}

// action reads an action.
func (o operator) action(said string) (a action, err error) {
	if err = o.read(said, &a); err == nil && (a.ID == "" || a.State == "") {
		err = o.another()
	}
	return a, err
}

// actionsShowCmd is poe actions show.
type actionsShowCmd struct {
	adminFlags
	ID   string `arg:"" name:"id" help:"Its id, as POE-State, receipts and logs have it."`
	JSON bool   `name:"json" help:"As JSON."`
}

// Run shows it.
func (c *actionsShowCmd) Run(ctx context.Context, t terminal) error {
	op := c.operator("poe actions show")
	said, err := op.ask(ctx, order{method: http.MethodGet, path: "/actions/" + url.PathEscape(c.ID)})
	if err != nil {
		return err
	}
	a, err := op.action(said)
	if err != nil {
		return err
	}
	if c.JSON {
		return t.print("%s\n", escaped(said))
	}
	if err := t.columns(a.rows()); err != nil {
		return err
	}
	if a.State == "unknown" && !a.RunningHere {
		return t.print("\nAsk the application what it has done under POE-Id %s. Then say what you have found:\n"+
			"  poe actions resolve %[1]s --as done --response FILE --reason …   it was done, and this was its answer\n"+
			"  poe actions resolve %[1]s --as failed --reason …                 it has failed, and is over\n"+
			"  poe actions release %[1]s --reason …                             it was surely not done: it may be repeated\n"+
			"  poe actions burn %[1]s --reason …                                nobody will ever know: it will not be repeated\n", shown(a.ID))
	}
	return nil
}

// meaning says what a state means.
var meaning = map[string]string{
	"unused":   "not executed; it may be",
	"accepted": "to be executed by a worker; nothing was sent of the last attempt",
	"running":  "being executed",
	"sent":     "being executed by a worker",
	"done":     "executed, or decided",
	"unknown":  "nobody knows whether it was executed",
	"burned":   "will not be executed (any more)",
	"expired":  "not executed, and too late for it",
}

// rows is what is shown of an action, a name and a value each.
func (a *action) rows() [][]string {
	rows := [][]string{{a.ID, a.State + ": " + meaning[a.State]}}
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{"  " + name, fmt.Sprintf(format, args...)})
	}
	add("request", "%s %s, %d bytes", a.Method, a.Target, a.Request.Length)
	if a.RequestDigest != "" {
		add("digest", "%s", a.RequestDigest)
	}
	add("came", "by door %q on route %q, as a %s", a.Door, a.Route, a.Kind)
	if a.Parent != "" {
		add("parent", "%s", a.Parent)
	}
	add("of", "%s", map[bool]string{true: "a principal, and shown to nobody else", false: "nobody: whoever has its address may see it"}[a.Bound])
	add("attempts", "%d, the last one claimed at %s", a.Attempts, shownTime(a.ClaimedAt))
	add("at rest", "since %s", shownTime(a.FinishedAt))
	if a.Expires != nil {
		add("expires", "%s", shownTime(a.Expires))
	}
	switch {
	case a.RunningHere:
		add("waits for", "its own end: it runs in that process")
	case a.WaitsFor != "":
		add("waits for", "%s", a.WaitsFor)
	case a.Due != nil:
		add("next look", "%s", shownTime(a.Due))
	}
	switch {
	case a.Response == nil:
	case a.Response.Length == nil:
		add("answer", "%d, %s", a.Response.Status, a.Response.Body)
	default:
		add("answer", "%d, %d bytes, %s", a.Response.Status, *a.Response.Length, a.Response.Body)
	}
	add("names", "%d", a.Names)
	if a.Outcome != "" {
		add("outcome", "%s", a.Outcome)
	}
	add("version", "%s", a.Version)
	for _, e := range a.History {
		add(e.At.Format(time.RFC3339), "%s to %s, %s: %s", e.From, e.To, e.Who, e.Why)
	}
	return rows
}

// decisionFlags are those of every decision.
type decisionFlags struct {
	adminFlags
	Reason string `required:"" placeholder:"TEXT" help:"Why. It is kept with the action, and its receipt shows it."`
	By     string `placeholder:"NAME" help:"Who decides; the receipt shows it as operator:NAME."`
	Seen   string `placeholder:"VERSION" help:"Only if it is still what list or show said, by the version in there."`
	ID     string `arg:"" name:"id" help:"Its id, as poe actions list shows it."`
}

// errBlank means that a reason says nothing.
var errBlank = errors.New("--reason is blank: it is kept with the action, and its receipt shows it")

// decide sends a decision and tells what stands then.
func (c *decisionFlags) decide(ctx context.Context, t terminal, verb string, f *form) error {
	command := "poe actions " + verb
	if strings.TrimSpace(c.Reason) == "" {
		return &usageError{err: errBlank, command: command}
	}
	for name, value := range map[string]string{"reason": c.Reason, "by": c.By, "version": c.Seen} {
		if value != "" {
			f.set(name, value)
		}
	}
	body, contentType, err := f.encode()
	if err != nil {
		return err
	}
	op := c.operator(command)
	said, err := op.ask(ctx, order{method: http.MethodPost, path: "/actions/" + url.PathEscape(c.ID) + "/" + verb, body: body, contentType: contentType})
	if err != nil {
		return fmt.Errorf("deciding about %s: %w", c.ID, err)
	}
	a, err := op.action(said)
	if err != nil {
		return err
	}
	return t.print("%s is %s\n", shown(a.ID), shown(a.became()))
}

// became says what a decision has made of an action.
func (a *action) became() string {
	switch {
	case a.State == "done" && a.Response != nil && a.Response.Length != nil:
		return fmt.Sprintf("done, with status %d and %d bytes", a.Response.Status, *a.Response.Length)
	case a.State == "accepted":
		return "accepted again: a worker executes it"
	case a.State == "unused":
		return "unused: a repeat of its request is executed"
	case a.State == "expired":
		return "expired: it was not executed, and its client is too late to repeat it"
	default:
		return a.State + ": " + meaning[a.State]
	}
}

// actionsResolveCmd is poe actions resolve.
type actionsResolveCmd struct {
	decisionFlags
	As       string `required:"" enum:"done,unused,failed" placeholder:"done|unused|failed" help:"What became of it."`
	Response string `type:"existingfile" placeholder:"FILE" help:"With done: the answer that it should have had, as curl -i writes it; - is the standard input."`
	Status   int    `placeholder:"N" help:"With failed: the status of its outcome, 400 to 599 (500)."`
}

// Help is shown after the flags.
func (actionsResolveCmd) Help() string {
	return `done: its client, and everybody who repeats the request, gets the response. failed: they get a problem that says
so; with a status from 500 up the business key of the request stays taken, with another it is free. unused: it may be
executed (again), so make sure that it was not. What runs in the server that is asked cannot be decided.`
}

// Run decides.
func (c *actionsResolveCmd) Run(ctx context.Context, t terminal) error {
	switch {
	case c.As == "done" && c.Response == "":
		return &usageError{err: errors.New("--as done needs --response: the answer that it should have had"), command: "poe actions resolve"}
	case c.As != "done" && c.Response != "":
		return &usageError{err: errors.New("--response belongs to --as done, and to nothing else"), command: "poe actions resolve"}
	}
	if c.Status != 0 && c.As != "failed" {
		return &usageError{err: errors.New("--status belongs to --as failed"), command: "poe actions resolve"}
	}
	f := newForm()
	f.set("as", c.As)
	if c.Status != 0 {
		f.set("status", strconv.Itoa(c.Status))
	}
	if c.Response != "" {
		if err := f.file("response", c.Response, t.in); err != nil {
			return err
		}
	}
	return c.decide(ctx, t, "resolve", f)
}

// actionsReleaseCmd is poe actions release.
type actionsReleaseCmd struct{ decisionFlags }

// Help is shown after the flags.
func (actionsReleaseCmd) Help() string {
	return `You swear that it was not executed: whoever repeats the request executes it. What was accepted to be executed later
is executed by a worker.`
}

// Run decides.
func (c *actionsReleaseCmd) Run(ctx context.Context, t terminal) error {
	return c.decide(ctx, t, "release", newForm())
}

// actionsBurnCmd is poe actions burn.
type actionsBurnCmd struct{ decisionFlags }

// Help is shown after the flags.
func (actionsBurnCmd) Help() string {
	return `For what is unused, accepted or unknown. Of what is unknown nobody will be told whether it was executed.`
}

// Run decides.
func (c *actionsBurnCmd) Run(ctx context.Context, t terminal) error {
	return c.decide(ctx, t, "burn", newForm())
}
