package tokens_test

import (
	"testing"

	"github.com/postonce/poe/internal/tokens"
)

// What is pasted into a shell is one word there, and no option of the command.
func TestQuoted(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":                        `''`,
		"/srv/poe-1/az_AZ.09+=:@": "/srv/poe-1/az_AZ.09+=:@",
		"it's":                    `'it'\''s'`,
		"-f":                      `'./-f'`,
	} {
		if got := tokens.Quoted(s); got != want {
			t.Errorf("%q is %s, want %s", s, got, want)
		}
	}
	for _, c := range "\x01\t\n !\"#$%&()*,;<>?[\\]^`{|}~\x7fß" {
		if s := "a" + string(c); tokens.Quoted(s) != "'"+s+"'" {
			t.Errorf("%q is %s", s, tokens.Quoted(s))
		}
	}
}
