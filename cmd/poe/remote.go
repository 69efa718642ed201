package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/client"
)

// remote are the flags of the commands that talk to a gateway.
type remote struct {
	Header []string `short:"H" sep:"none" placeholder:"'NAME: VALUE'" help:"Field to send, credentials for example; repeatable."`
	Prefix string   `default:"/poe/" placeholder:"PATH" help:"Path of poe's own pages there (${default})."`
	Param  string   `default:"poe" placeholder:"NAME" help:"Query parameter of POE URIs there (${default})."`
}

// config returns a client's configuration.
func (r remote) config(attempt time.Duration) (client.Config, error) {
	h := http.Header{}
	for _, field := range r.Header {
		name, value, ok := strings.Cut(field, ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return client.Config{}, &usageError{err: fmt.Errorf("--header: a field is written 'Name: value'")} // it may be a secret
		}
		h.Add(name, value)
	}
	return client.Config{Header: h, Prefix: r.Prefix, Param: r.Param, Attempt: attempt}, nil
}

// said returns those flags without which a POE URI is none, for a command that somebody is to type; "": there are none.
func (r remote) said() (flags string) {
	if r.Prefix != "" && r.Prefix != "/poe/" {
		flags += " --prefix " + quoted(r.Prefix)
	}
	if r.Param != "" && r.Param != "poe" {
		flags += " --param " + quoted(r.Param)
	}
	return flags
}

// positive wants times that are not over before they begin.
func positive(command string, times map[string]time.Duration) error {
	for _, name := range slices.Sorted(maps.Keys(times)) {
		if d := times[name]; d <= 0 {
			return &usageError{err: fmt.Errorf("%s: %s is no time to wait", name, d), command: command}
		}
	}
	return nil
}

// show prints an answer as curl does: the body, after status and fields if they are wanted.
func (t terminal) show(a client.Answer, include bool) error {
	if include {
		if err := t.print("%s %s\r\n", a.Proto, a.Status); err != nil {
			return err
		}
		if err := a.Header.Write(t.out); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		if err := t.print("\r\n"); err != nil {
			return err
		}
	}
	return t.print("%s", a.Body)
}

// quoted returns s as one word of a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
