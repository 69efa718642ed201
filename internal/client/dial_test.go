package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/postonce/poe/internal/client"
)

// blackhole never connects, as a firewall that drops: net.Dialer then returns this error, at the end of the context.
type blackhole struct{}

func (blackhole) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: r.Context().Err()}
}

// A connection that is not made in time counts as a request that was sent.
func TestBlackhole(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := client.New(client.Config{Transport: blackhole{}, Attempt: 50 * time.Millisecond, Shortest: time.Millisecond}).Post(ctx, client.PostRequest{URL: "http://a/orders?poe=a.b.c"})
	var u *client.UnsettledError
	if !errors.As(err, &u) || u.Sent {
		t.Errorf("%+v: %v", u, err)
	}
}
