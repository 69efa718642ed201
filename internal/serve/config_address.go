package serve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// checkAddress wants host:port, the host optional.
func checkAddress(d *decoder, path, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		d.wrong(path, "%q is not an address (write :8080 or 127.0.0.1:8080)", addr)
	}
}

// checkOrigin wants a scheme and a host and nothing that would be dropped in silence.
func checkOrigin(d *decoder, path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		if strings.Contains(text, "@") { // it may have a password
			d.wrong(path, "is not a URL (write http://host:port)")
			return
		}
		d.wrong(path, "%q is not a URL (write http://host:port)", text)
	case !validPort(u.Port()):
		d.wrong(path, "%q has no port from 1 to 65535", u.Redacted())
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		d.wrong(path, "%q says more than scheme, host and port", u.Redacted())
	}
}

// meet tells whether two listeners surely cannot have these addresses side by side: an unspecified host has a port at all others, of IPv4 and IPv6.
func meet(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || number(portA) != number(portB) || number(portA) == 0 {
		return false
	}
	return everywhere(hostA) || everywhere(hostB) || plainHost(hostA) == plainHost(hostB)
}

// number is a port as the system has it: with zeros before it, as in ":08080", it is the same one. 0: any, or none.
func number(port string) uint64 {
	n, _ := strconv.ParseUint(port, 10, 16)
	return n
}

// everywhere tells whether a host is that of a listener at all addresses.
func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// leadsBack names the listener that the upstream is, if it is surely one; "": it is none.
func (c *Config) leadsBack() string {
	u, err := url.Parse(c.Upstream)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	to := u.Hostname()
	if here, at := map[string]string{"0.0.0.0": "127.0.0.1", "::": "::1"}[to]; at { // as an application's log has it, and where the system goes then
		to = here
	}
	for _, own := range []struct{ key, address string }{{"listen", c.Listen}, {"admin", c.Admin}} {
		host, at, err := net.SplitHostPort(own.address)
		if err != nil || number(at) != number(port) || number(at) == 0 {
			continue
		}
		if everywhere(host) && loopbackName(to) || plainHost(host) == plainHost(to) {
			return own.key
		}
	}
	return ""
}

// plainHost is a host by the name that all call it by.
func plainHost(host string) string {
	if host = strings.ToLower(host); host == "localhost" {
		return "127.0.0.1"
	}
	return host
}

// network reads an address, which is a network of its own, or a network.
func network(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil && a.Zone() != "" {
			err = errors.New("it is of one machine's link")
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("is neither an address nor a network (write 10.0.0.7 or 10.0.0.0/8)")
	case p.Addr().Is4In6():
		return netip.Prefix{}, errors.New("is an address of IPv4 in the form of IPv6 (write 10.0.0.7 or 10.0.0.0/8)")
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("is no network, since it goes on behind its %d bits (write %s, or the address alone)", p.Bits(), p.Masked())
	default:
		return p, nil
	}
}

// trusted returns the networks of the proxies that are believed.
func (c Config) trusted() (all []netip.Prefix) {
	for _, text := range c.TrustedProxies {
		if p, err := network(text); err == nil { // which Check has seen to
			all = append(all, p)
		}
	}
	return all
}

// validPort tells whether a port can be dialled; "" is the scheme's.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}
