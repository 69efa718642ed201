// Command poe makes POSTs happen once: it is the gateway, a demonstration of it, and a client for the shell.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/postonce/poe/internal/timerslack"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		// A SIGHUP has keys read again, and none are read before serve.Run listens for it; a log whose reader has gone is no reason to end.
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	}
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "demo") {
		timerslack.Raise()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Args[1:]))
}
