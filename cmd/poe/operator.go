package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/postonce/poe/internal/serve"
)

// An operator asks a running server, by its admin listener.
type operator struct {
	admin     string
	tokenFile string // "": it needs none
	timeout   time.Duration
	command   string // for the hint where its help is
}

// An order is what an operator sends.
type order struct {
	method, path string
	body         io.Reader // nil: none
	contentType  string
}

// ask sends an order and returns the content of a 2xx.
func (o operator) ask(ctx context.Context, what order) (string, error) {
	ctx, cancel, err := o.within(ctx)
	if err != nil {
		return "", err
	}
	defer cancel()
	res, err := o.send(ctx, what)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }() // read only
	said, err := io.ReadAll(io.LimitReader(res.Body, maxSaid+1))
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", o.admin, err)
	}
	if len(said) > maxSaid {
		return "", fmt.Errorf("%s answers with more than %s", o.admin, humanize.IBytes(maxSaid))
	}
	return strings.TrimSpace(string(said)), nil
}

// within is ctx with the time that an answer may take.
func (o operator) within(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := positive(o.command, map[string]time.Duration{"--timeout": o.timeout}); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	return ctx, cancel, nil
}

// maxSaid is how much of an answer is read, in bytes.
const maxSaid = 8 << 20

// errUnreached means that nobody answers at the address.
var errUnreached = errors.New("nobody answers")

// send sends an order and returns a 2xx, whose body the caller closes. Where there is no answer at all the error is errUnreached.
func (o operator) send(ctx context.Context, what order) (*http.Response, error) {
	host, port, err := net.SplitHostPort(o.admin)
	if err != nil {
		return nil, &usageError{err: fmt.Errorf("--admin: %q is not an address (write :8081 or 127.0.0.1:8081)", o.admin), command: o.command}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // it listens everywhere; we are on the same machine
	}
	r, err := http.NewRequestWithContext(ctx, what.method, "http://"+net.JoinHostPort(host, port)+what.path, what.body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", o.admin, err)
	}
	if what.contentType != "" {
		r.Header.Set("Content-Type", what.contentType)
	}
	if o.tokenFile != "" {
		token, err := serve.ReadAdminToken(o.tokenFile)
		if err != nil {
			return nil, &hinted{err: err, hint: "it is a copy of the file that the server names as admin_token_file"}
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w: %w", o.admin, errUnreached, err)
	}
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()              // read only
	if res.StatusCode == http.StatusSwitchingProtocols { // which gives the connection away: nothing ends a read from it
		return nil, o.refused(res, "")
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxSaid)) // as much as there is
	return nil, o.refused(res, strings.TrimSpace(string(said)))
}

// refused is the error for an answer that is not a 2xx.
func (o operator) refused(res *http.Response, text string) error {
	err := fmt.Errorf("%s answers %s: %s", o.admin, res.Status, text)
	switch kind := res.Header.Get("Content-Type"); {
	case !strings.HasPrefix(kind, "text/plain") || text == "404 page not found": // the admin listener says what is wrong in plain words
		return &hinted{err: err, hint: "is that the admin listener? " + whereAdmin}
	case res.StatusCode != http.StatusUnauthorized:
		return err
	case o.tokenFile == "":
		return &hinted{err: err, hint: "the server has the token in its admin_token_file: name a copy of that with --admin-token-file"}
	default:
		return &hinted{err: err, hint: "the token in " + o.tokenFile + " is not the server's"}
	}
}

// another says that who has answered is not poe's admin listener. The listener for clients, a port beside it, passes on what is asked there, and many an application
// answers with success whatever it is asked.
func (o operator) another() error {
	return &hinted{
		fmt.Errorf("%s answers, and not as the admin listener of poe does", o.admin),
		whereAdmin,
	}
}

// whereAdmin says where the admin listener is.
const whereAdmin = "its address is what poe serve says at its start as admin, 127.0.0.1:8081 where it is told nothing else"

// tell sends an order that is answered with nothing.
func (o operator) tell(ctx context.Context, path string) error {
	ctx, cancel, err := o.within(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	res, err := o.send(ctx, order{method: http.MethodPost, path: path})
	if err != nil {
		return err
	}
	_ = res.Body.Close() // nothing is read
	if res.StatusCode != http.StatusNoContent {
		return o.another()
	}
	return nil
}

// get asks for a document and reads it into doc.
func (o operator) get(ctx context.Context, path string, doc any) error {
	said, err := o.ask(ctx, order{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	return o.read(said, doc)
}

// read reads a document.
func (o operator) read(said string, doc any) error {
	if json.Unmarshal([]byte(said), doc) != nil {
		return o.another() // what is no JSON, or has other members, is not poe's
	}
	return nil
}

// adminAddress says where the server is that is asked.
type adminAddress struct {
	Admin          string `default:"127.0.0.1:8081" placeholder:"ADDR" help:"The admin listener of the server (${default})."`
	AdminTokenFile string `placeholder:"FILE" help:"File with its token, where it needs one."`
}

// here tells whether the server is on this machine, as far as the address says so.
func (a adminAddress) here() bool {
	host, _, err := net.SplitHostPort(a.Admin)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || strings.EqualFold(host, "localhost") || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()))
}

// adminFlags are those of the verbs for operators.
type adminFlags struct {
	adminAddress
	Timeout time.Duration `default:"10s" placeholder:"TIME" help:"How long it may take to answer (${default})."`
}

func (f adminFlags) operator(command string) operator {
	return operator{admin: f.Admin, tokenFile: f.AdminTokenFile, timeout: f.Timeout, command: command}
}

// callbacksCmd is poe callbacks.
type callbacksCmd struct {
	List  callbacksListCmd  `cmd:"" help:"List the callbacks that could not be delivered."`
	Retry callbacksRetryCmd `cmd:"" help:"Send some of them again, with the whole schedule before them."`
}

// callbacksListCmd is poe callbacks list.
type callbacksListCmd struct {
	adminFlags
	JSON bool `name:"json" help:"As JSON."`
}

// Run lists them.
func (c *callbacksListCmd) Run(ctx context.Context, t terminal) error {
	op := c.operator("poe callbacks")
	said, err := op.ask(ctx, order{method: http.MethodGet, path: "/callbacks"})
	if err != nil {
		return err
	}
	var doc struct {
		Undelivered []struct {
			ID, Action, Host, Why string
			Tries                 int
			Since                 time.Time
		}
	}
	if err := op.read(said, &doc); err != nil {
		return err
	}
	switch {
	case doc.Undelivered == nil:
		return op.another()
	case c.JSON:
		return t.print("%s\n", escaped(said))
	case len(doc.Undelivered) == 0:
		return t.print("every callback was delivered, or is still being tried\n")
	}
	rows := [][]string{{"ID", "ACTION", "HOST", "TRIES", "SINCE", "LAST"}}
	for _, u := range doc.Undelivered {
		rows = append(rows, []string{u.ID, u.Action, u.Host, strconv.Itoa(u.Tries), u.Since.Format(time.RFC3339), u.Why})
	}
	return t.columns(rows)
}

// callbacksRetryCmd is poe callbacks retry.
type callbacksRetryCmd struct {
	adminFlags
	IDs []string `arg:"" name:"id" help:"As poe callbacks list shows them."`
}

// Run sends them again.
func (c *callbacksRetryCmd) Run(ctx context.Context, t terminal) error {
	for _, id := range c.IDs {
		if err := c.operator("poe callbacks").tell(ctx, "/callbacks/"+url.PathEscape(id)+"/retry"); err != nil {
			return fmt.Errorf("sending %s again: %w", id, err)
		}
		if err := t.print("%s is sent again\n", id); err != nil {
			return err
		}
	}
	return nil
}

// freeCmd is poe free.
type freeCmd struct {
	adminFlags
	IDs []string `arg:"" name:"id" help:"Ids of actions, as POE-State and receipts have them."`
}

// Help is shown after the flags.
func (freeCmd) Help() string {
	return `A business key (unique), a version tag (if-match) or a creation (if-none-match) is held by the action that
has it. After this another action can have it. The action itself, its outcome and its key stay what they are.`
}

// Run gives back what they guard.
func (c *freeCmd) Run(ctx context.Context, t terminal) error {
	for _, id := range c.IDs {
		if err := c.operator("poe free").tell(ctx, "/actions/"+url.PathEscape(id)+"/free"); err != nil {
			return fmt.Errorf("freeing what %s guards: %w", id, err)
		}
		if err := t.print("%s guards nothing any more\n", id); err != nil {
			return err
		}
	}
	return nil
}
