package gateway_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/gateway"
)

func TestNew(t *testing.T) {
	tests := []struct {
		upstream string
		wrong    string // "": nothing
	}{
		{"http://127.0.0.1:9000", ""},
		{"http://127.0.0.1:9000/", ""},
		{"https://api.example.com", ""},
		{"http://[::1]:9000", ""},
		{"ftp://host", "scheme"},
		{"127.0.0.1", "scheme"},
		{"http://", "host is missing"},
		{"http://:80", "host is missing"},
		{"http://u:p@host", "user"},
		{"http://host/api", "scheme and host only"},
		{"http://host?x=1", "scheme and host only"},
		{"http://host?", "scheme and host only"},
		{"http://host#f", "scheme and host only"},
	}
	for _, tt := range tests {
		t.Run(tt.upstream, func(t *testing.T) {
			u, err := url.Parse(tt.upstream)
			if err != nil {
				t.Fatal(err)
			}
			g, err := gateway.New(gateway.Config{Upstream: u})
			switch {
			case tt.wrong == "" && err != nil:
				t.Error(err)
			case tt.wrong == "":
				g.Close()
			case err == nil:
				t.Error("no error")
			case !strings.Contains(err.Error(), tt.wrong) || strings.Contains(err.Error(), "u:p@"):
				t.Errorf("error %q", err)
			}
		})
	}
}

// All mistakes are told at once.
func TestNewTellsAll(t *testing.T) {
	_, err := gateway.New(gateway.Config{DialTimeout: -time.Second, IdleTimeout: -time.Second, MaxConns: -1, MaxPassing: -2})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"upstream", "dial timeout", "idle timeout", "-1 connections:", "-2 connections that pass"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %q", err, want)
		}
	}
}
