package main

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// cli is the grammar of the command line.
type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run the gateway in front of an application."`
	Demo      demoCmd      `cmd:"" help:"See what it does, with a small shop behind it. Begin here."`
	Mint      mintCmd      `cmd:"" help:"Get POE URIs: addresses that work once."`
	Post      postCmd      `cmd:"" help:"POST, and repeat until the answer is definite."`
	Get       getCmd       `cmd:"" help:"Get the outcome or the receipt of a POST."`
	Keys      keysCmd      `cmd:"" help:"Make, list, rotate, retire and release the keys that sign POE URIs."`
	Actions   actionsCmd   `cmd:"" help:"List actions, and decide about those of which nobody knows."`
	Callbacks callbacksCmd `cmd:"" help:"List the callbacks that could not be delivered, and send them again."`
	Free      freeCmd      `cmd:"" help:"Give back the business keys and tags that an action holds."`
	Backup    backupCmd    `cmd:"" help:"Copy the ledger, while it is served or not."`
	Restore   restoreCmd   `cmd:"" help:"Put a ledger back, so that nothing that it has forgotten is done twice."`
	Check     checkCmd     `cmd:"" help:"Read all of a ledger, and say what is wrong with it."`
	Clock     clockCmd     `cmd:"" help:"Confirm the clock of a running server after it leapt."`
	Health    healthCmd    `cmd:"" help:"Ask a running server whether it is well."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

const description = `POST once exactly: a request that may be repeated for ever and happens once.

Every flag but --accept-lost-keys, and --store of poe demo, which are to be typed, is also an environment variable: --max-body is POE_MAX_BODY.`

// terminal is where a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// run runs one command line and returns its exit code.
func run(ctx context.Context, t terminal, args []string) int {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("poe"), kong.Description(description), kong.DefaultEnvars("POE"),
		kong.Writers(t.out, t.err), kong.ValueFormatter(describe), kong.ExplicitGroups(groups()),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(t),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(readTime)),
	)
	if err != nil {
		return t.report(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return t.report(&usageError{err: err, command: strings.TrimSpace("poe " + commandOf(parser, args))})
	}
	if err := parsed.Run(parsed); err != nil {
		return t.report(err)
	}
	return exitOK
}

// commandOf returns the verbs that somebody meant, for the hint where their help is; "": there are no such verbs.
func commandOf(parser *kong.Kong, args []string) string {
	var verbs []string
	at := parser.Model.Children
	for _, arg := range args {
		i := slices.IndexFunc(at, func(n *kong.Node) bool { return n.Name == arg })
		if i < 0 {
			break
		}
		verbs, at = append(verbs, arg), at[i].Children
	}
	return strings.Join(verbs, " ")
}

// readTime reads a time like 90s for a flag, and says what is wanted as the configuration file does.
func readTime(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("time", &text); err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a time (write 90s, 10m, 720h)", text)
	}
	target.SetInt(int64(d))
	return nil
}

// groups are the headings in the help of serve.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "where", Title: "Where"},
		{Key: "state", Title: "State"},
		{Key: "what", Title: "What is protected"},
		{Key: "limits", Title: "Limits"},
		{Key: "log", Title: "Log"},
	}
}

// describe adds to a flag's help the value that it has when nobody gives one.
func describe(v *kong.Value) string {
	if usual := v.Tag.Get("usual"); usual != "" {
		return strings.TrimSuffix(v.Help, ".") + " (" + usual + ")."
	}
	return v.Help
}
