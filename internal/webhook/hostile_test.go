package webhook_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/webhook"
)

// No error has a secret in it, wherever somebody put it: configuration errors are printed and logged.
func TestSecretAmongTheHosts(t *testing.T) {
	for _, allow := range []string{secret('z'), strings.ToUpper(secret('z')), secret('z') + ":443"} {
		for _, secrets := range []string{"hooks.example.com", secret('z')} {
			_, err := webhook.New(webhook.Config{Allow: []string{allow}, Secrets: []string{secrets}})
			if err == nil || !strings.Contains(err.Error(), "callback host 1: is a secret") || strings.Contains(strings.ToLower(err.Error()), "enp6") {
				t.Error(err)
			}
		}
	}
}

// A time below nothing is no time without end.
func TestNegativeTimeout(t *testing.T) {
	if _, err := webhook.New(webhook.Config{Allow: []string{"hooks.example.com"}, Secrets: []string{secret('z')}, Timeout: -1}); err == nil {
		t.Error("a delivery may take for ever")
	}
}

// A redirect is an answer, whatever its Location is: it is the receiver's, and nothing that it says ends up in a log.
func TestRedirectToNowhere(t *testing.T) {
	address, s := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://[x?token=secret")
		w.WriteHeader(http.StatusFound)
	})
	res, err := s.Send(t.Context(), webhook.Message{ID: "m", URL: address})
	if err != nil || res.Status != http.StatusFound {
		t.Errorf("%v, %v", res, err)
	}
}

// What is checked is what is called: no spelling of an address is one host for the list and another for the connection.
func TestCheckedIsCalled(t *testing.T) {
	s := newSender(t, nil)
	parts := []string{
		"https://", "hooks.example.com", "evil.com", "@", ":", "/", "\\", "?", "#", "%", "%2f", "%40", "[", "]", ".", "..", "//", ";", "443",
		"a.example.net", "0", "&", "=", "::1", "%00", "%5b", "+", "~",
	}
	rapid.Check(t, func(rt *rapid.T) {
		address := "https://hooks.example.com" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 8).Draw(rt, "parts"), "")
		if rapid.Bool().Draw(rt, "any") {
			address = strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 8).Draw(rt, "all"), "")
		}
		if s.Check(address) != nil {
			return
		}
		u, err := url.Parse(address)
		if err != nil {
			rt.Fatal(err)
		}
		again, err := url.Parse(u.String())
		if err != nil {
			rt.Fatal(err)
		}
		h := strings.ToLower(again.Hostname())
		if again.Host != u.Host || h != "hooks.example.com" && !strings.HasSuffix(h, ".example.net") && h != "ports.example.com" {
			rt.Fatalf("%q is called as %q", address, u)
		}
	})
}
