package webhook_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/postonce/poe/internal/webhook"
)

// names answers every question for an IPv4 address with the next one of addresses, and from then on with the last.
type names struct {
	addresses []netip.Addr
	asked     atomic.Int64
}

func (n *names) serve(c net.PacketConn) {
	buf := make([]byte, 512)
	for {
		size, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		if q.Type == dnsmessage.TypeA {
			at := min(int(n.asked.Add(1)), len(n.addresses)) - 1
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: n.addresses[at].As4()},
			}}
		}
		if packed, err := m.Pack(); err == nil {
			_, _ = c.WriteTo(packed, from)
		}
	}
}

// resolver asks n, whatever the system's servers are.
func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	var lc net.ListenConfig
	c, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go n.serve(c)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

// A name that is public when somebody looks, and leads to this machine when it is called, is not called: the address that is dialled is
// the one that is checked.
func TestNameThatChanges(t *testing.T) {
	var hits atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer s.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "https://"), ":")
	zone := &names{addresses: []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("127.0.0.1")}}
	resolver := zone.resolver(t)
	sender := newSender(t, func(c *webhook.Config) {
		c.Allow, c.Resolver = []string{"hooks.example.com:" + port}, resolver
	})
	address := "https://hooks.example.com:" + port + "/"
	if err := sender.Check(address); err != nil {
		t.Fatal(err)
	}
	seen, err := resolver.LookupNetIP(t.Context(), "ip4", "hooks.example.com")
	if err != nil || len(seen) != 1 || !seen[0].IsGlobalUnicast() || seen[0].IsLoopback() {
		t.Fatalf("who looks sees %v, %v", seen, err)
	}
	_, err = sender.Send(t.Context(), webhook.Message{ID: "m1", URL: address, Content: []byte("{}")})
	if !errors.Is(err, webhook.ErrRefused) || hits.Load() != 0 || zone.asked.Load() < 2 {
		t.Errorf("%v, called %d times, looked up %d times", err, hits.Load(), zone.asked.Load())
	}
}
