package roles

import (
	"context"

	restate "github.com/restatedev/sdk-go"
	"github.com/restatedev/sdk-go/server"
)

// Order is what the service of Restate is sent, and what it returns.
type Order struct {
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
	Note     string `json:"note"`
}

// Orders is the application as a service of Restate: its handler returns what it is sent.
type Orders struct{}

// Create is the handler.
func (Orders) Create(_ restate.Context, o Order) (Order, error) { return o, nil }

func restateService(ctx context.Context, cfg Config) error {
	err := server.NewRestate().Bind(restate.Reflect(Orders{})).Start(ctx, cfg.Listen)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
