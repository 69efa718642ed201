package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/postonce/poe/internal/client"
)

// full is an address of this machine where no connection is made any more: its queue is full, and what comes is dropped, as by a firewall.
func full(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("the queue of a listener is never full here")
	return ""
}

// A connection that is not made in time is no request that may have been executed, with the transport that people have.
func TestConnectionNotMadeInTime(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := client.New(client.Config{Attempt: 100 * time.Millisecond, Shortest: time.Millisecond}).Post(ctx, client.PostRequest{URL: "http://" + full(t) + "/orders?poe=a.b.c"})
	var u *client.UnsettledError
	if !errors.As(err, &u) || u.Sent {
		t.Errorf("%+v: %v", u, err)
	}
}
