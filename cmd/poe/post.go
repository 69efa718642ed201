package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/postonce/poe/internal/client"
)

// postCmd is poe post.
type postCmd struct {
	URL         string        `arg:"" help:"Where to POST, or a POE URI for it."`
	Data        []string      `short:"d" sep:"none" placeholder:"DATA" help:"Body: itself, @FILE, or @- for the standard input; sent as it is. Repeated, all of them with & between."`
	ContentType string        `placeholder:"TYPE" help:"Its type; application/json if it is JSON, otherwise a form's."`
	Include     bool          `short:"i" help:"Print status and fields as well."`
	MaxTime     time.Duration `default:"5m" placeholder:"TIME" help:"For everything, repeats included (${default})."`
	Timeout     time.Duration `default:"60s" placeholder:"TIME" help:"For one try (${default})."`
	Remote      remote        `embed:""`
}

// Help is shown after the flags.
func (postCmd) Help() string {
	return `It gets a POE URI, POSTs to it, and repeats the same request until the answer is definite. What was done before
is not done again: then the outcome is fetched and printed. What is only accepted (202) is waited for. Exit code 0: the
outcome is a success (2xx or 3xx).

A failure names the POE URI, to go on with. Where this process itself may be killed, get it first, with poe mint, keep it,
and give it instead of the address.`
}

// Run posts once.
func (c *postCmd) Run(ctx context.Context, t terminal) error {
	if err := positive("poe post", map[string]time.Duration{"--timeout": c.Timeout, "--max-time": c.MaxTime}); err != nil {
		return err
	}
	cfg, err := c.Remote.config(c.Timeout)
	if err != nil {
		return err
	}
	body, err := c.body(t.in, cfg.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that has gone must not take the POE URI with it: what cannot be printed is an error like others
	p := &progress{t: t, uri: withoutPassword(c.URL), flags: c.Remote.said()}
	cfg.Notice = p.notice
	poe := client.New(cfg)
	p.known = poe.Guarded(c.URL)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup does
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP) // nor must a terminal that is closed
		defer stop()
	}
	ctx, cancel := context.WithTimeout(ctx, c.MaxTime)
	defer cancel()
	a, err := poe.Post(ctx, client.PostRequest{URL: c.URL, Body: body, Minted: p.minted})
	if err != nil {
		return p.failed(err)
	}
	if err := t.show(a, c.Include); err != nil {
		return p.failed(err)
	}
	return p.judge(a)
}

// body reads what is to be sent, whole: every repeat must be the same request.
func (c *postCmd) body(in io.Reader, contentType string) (b client.Body, err error) {
	for i, said := range c.Data {
		part := []byte(said)
		name, isFile := strings.CutPrefix(said, "@")
		switch {
		case !isFile:
		case name == "-":
			part, err = io.ReadAll(in)
		default:
			part, err = os.ReadFile(name) //nolint:gosec // the user names it
		}
		if err != nil {
			return b, fmt.Errorf("reading the body: %w", err)
		}
		if i > 0 {
			b.Data = append(b.Data, '&')
		}
		b.Data = append(b.Data, part...)
	}
	switch {
	case c.ContentType != "":
		b.Type = c.ContentType
	case contentType != "":
		b.Type = contentType
	case len(b.Data) == 0:
	case json.Valid(b.Data):
		b.Type = "application/json"
	default:
		b.Type = "application/x-www-form-urlencoded"
	}
	return b, nil
}

// progress tells a person how it goes.
type progress struct {
	t     terminal
	uri   string // the POE URI, once it is known, without a password
	flags string // that a command about it needs
	known bool
	told  bool // the URI was printed
}

func (p *progress) minted(uri string) { p.uri, p.known = withoutPassword(uri), true }

// withoutPassword returns an address as it may stand in a log.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return address
	}
	u.User = url.User(u.User.Username())
	return u.String()
}

// notice says that something is repeated. The first time it also says the POE URI: whatever happens to this
// process from then on, with it the same request can be gone on with.
func (p *progress) notice(n client.Notice) {
	p.t.say("%s; %s in %s (attempt %d)", n.Why, n.What, n.Wait.Round(100*time.Millisecond), n.Attempt)
	if p.known && !p.told {
		p.told = true
		p.t.say("the POE URI is %s", p.uri)
	}
}

// failed says what to do after a failure. Once a POST may have left it names the POE URI: nobody else may know it, and whoever starts
// anew instead does it a second time.
func (p *progress) failed(err error) error {
	var unsettled *client.UnsettledError
	var unguarded *client.UnguardedError
	var refused *client.ProblemError
	at := p.flags + " " + quoted(p.uri)
	see, goOn := "poe get"+at, "poe post"+at
	var hint string
	switch {
	case errors.As(err, &unsettled) && p.known:
		hint = "go on later, with the same data: " + goOn
	case errors.As(err, &unsettled):
		hint = "try again when the server is there"
	case !p.known:
		return err
	case errors.Is(err, client.ErrNothingSent):
		hint = "once that is mended, go on with the same data: " + goOn
	case errors.Is(err, client.ErrOtherRequest):
		hint = "see what was done with " + see + "; for something else, get a new POE URI"
	case errors.Is(err, client.ErrTooLarge):
		hint = "see what came of it with poe get --receipt" + at
	case errors.As(err, &unguarded) && unguarded.Done, errors.As(err, &refused) && refused.Done:
		hint = "do not send it again; see what came of it with " + see + ", as somebody who may"
	case errors.As(err, &unguarded) && unguarded.Sent:
		hint = "the request was sent, and may have been executed; see what came of it with " + see +
			"; where poe does not answer that, look at the application before you send it again"
	case errors.As(err, &refused) && refused.Open:
		hint = "did another server answer, or one with another ledger or other keys? See what came of it with " + see +
			" where the first try went; where poe does not answer that, look at the application before you send it again"
	case errors.As(err, &unguarded), errors.As(err, &refused) && refused.Retry == "new": // they say it themselves, and nothing was executed
		return err
	case errors.As(err, &refused):
		hint = "see what is known of it with " + see
	default:
		hint = "see what came of it with " + see + ", or go on with the same data: " + goOn
	}
	return &hinted{err: err, hint: hint}
}

// judge says what an answer alone does not, and makes the exit code.
func (p *progress) judge(a client.Answer) error {
	switch {
	case a.State.Name == "unknown":
		p.t.say("this is the answer, but the server could not record it: do not repeat the request")
	case a.Purged():
		p.t.say("it was executed, with status %d, but the answer was not kept", a.State.Status)
	case a.State.Name == "unused" && a.OK():
		p.t.say("it is to be sent to %s, and was not executed; the POE URI is still unused: %s", a.Header.Get("Location"), p.uri)
	case a.State.Name == "unused":
		p.t.say("the application refused it, and the POE URI is still unused: %s", p.uri)
	}
	if a.OK() && a.State.Name != "unused" { // as after 307 and 308
		return nil
	}
	return errSilent
}
