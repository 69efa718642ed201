package doctest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// The unit that the page shows has what a service manager must know of the program. What Go ends a program with that panics must not be what is never started again, or a
// gateway stays down for it.
func TestUnit(t *testing.T) {
	unit := map[string]string{}
	page := readPage(t, "docs/operations.md")
	for _, line := range page.section(t, "## With systemd").lines {
		if key, value, ok := strings.Cut(line, "="); ok && !strings.Contains(key, " ") {
			unit[key] = value
		}
	}
	if unit["Restart"] != "on-failure" || unit["RestartPreventExitStatus"] != "78" {
		t.Errorf("it is started again %q, but after %q: what is never to be is 78, and 2 is a panic", unit["Restart"], unit["RestartPreventExitStatus"])
	}
	if unit["RestartForceExitStatus"] != "SIGHUP" {
		t.Errorf("it is started again after %q: a SIGHUP at the very start is an end in order to systemd", unit["RestartForceExitStatus"])
	}
	if stop, err := time.ParseDuration(unit["TimeoutStopSec"] + "s"); err != nil || stop <= serve.Defaults().Grace {
		t.Errorf("it is killed after %s, and the grace is %s", stop, serve.Defaults().Grace)
	}
	backup := regexp.MustCompile(`(?m)^bin/poe backup /var/lib/([^/]*)/`).FindStringSubmatch(strings.Join(page.lines, "\n"))
	if backup == nil || !slices.Contains(strings.Fields(unit["StateDirectory"]), backup[1]) {
		t.Errorf("the page backs up into %q, and the service can write to %q", backup, unit["StateDirectory"])
	}
}

// Container engines kill what has not ended after 10 s: by then the image's server has settled what ran.
func TestImageEndsInTime(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`POE_GRACE=(\S+)`).FindSubmatch(text)
	if said == nil {
		t.Fatal("the image says no grace")
	}
	if grace, err := time.ParseDuration(string(said[1])); err != nil || grace > 9*time.Second {
		t.Errorf("the image's grace is %s, %v", said[1], err)
	}
}
