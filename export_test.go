package poe

import (
	"time"

	core "github.com/postonce/poe/internal/poe"

	"github.com/postonce/poe/internal/webhook"
)

// The engine's words for what is exported.
func (r *Route) Core() core.Route                                 { return r.core() }
func (c *Callbacks) Config(clock func() time.Time) webhook.Config { return c.config(clock) }
