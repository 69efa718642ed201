package webhook

import (
	"net"
	"net/netip"
	"time"
)

// Dialled says what the guard says of an address that a name led to.
func Dialled(s *Sender, address string) error {
	network := "tcp6"
	if ip := netip.MustParseAddr(address); ip.Is4() {
		network = "tcp4"
	}
	return guarded(s.guard(network, net.JoinHostPort(address, "443"), nil))
}

// RetryAfter reads the field.
func RetryAfter(text string, now time.Time) time.Duration { return retryAfter(text, now) }
