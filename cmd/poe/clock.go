package main

import "context"

// clockCmd is poe clock.
type clockCmd struct {
	Confirm clockConfirmCmd `cmd:"" help:"Say that the clock is right, though it leapt."`
}

// clockConfirmCmd is poe clock confirm.
type clockConfirmCmd struct {
	adminFlags
}

// Help is shown after the flags.
func (clockConfirmCmd) Help() string {
	return `Where the clock leaps by more than an hour, nothing is forgotten until somebody has looked: what is past by a wrong clock
could be done again. Look at date first. A clock that was wrong needs no confirming: set it right.`
}

// Run confirms the server's clock.
func (c *clockConfirmCmd) Run(ctx context.Context, t terminal) error {
	if err := c.operator("poe clock").tell(ctx, "/clock/confirm"); err != nil {
		return err
	}
	return t.print("the server believes its clock\n")
}
