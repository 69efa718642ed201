package roles

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/idempotency"
	"github.com/gofiber/storage/redis/v3"
)

// fiberMemory is Fiber's middleware as it comes: it forgets all when the process ends.
func fiberMemory(ctx context.Context, cfg Config) error {
	return serveFiber(ctx, cfg, nil)
}

// fiberRedis is the same, with its answers on Redis. Its locks stay in its memory: Fiber brings none for Redis. So it pays less than one
// that would be safe for two processes.
func fiberRedis(ctx context.Context, cfg Config) error {
	store := redis.New(redis.Config{Addrs: []string{cfg.Behind}, PoolSize: 512})
	defer func() { _ = store.Close() }()
	return serveFiber(ctx, cfg, store)
}

func serveFiber(ctx context.Context, cfg Config, answers fiber.Storage) error {
	app := fiber.New()
	app.Post("/orders", idempotency.New(idempotency.Config{KeyHeader: "Idempotency-Key", Storage: answers}), func(c fiber.Ctx) error {
		c.Set("Content-Type", "application/json")
		c.Set("Location", "/orders/1")
		return c.Status(http.StatusCreated).Send(c.Body())
	})
	context.AfterFunc(ctx, func() { _ = app.Shutdown() })
	if err := app.Listen(cfg.Listen, fiber.ListenConfig{DisableStartupMessage: true}); err != nil {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
