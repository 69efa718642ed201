package doctest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWelcome sends each line that poe demo prints about the other doors twice, as it says.
func TestWelcome(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "cmd", "poe", "welcome.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "Send each line twice:\n")
	if !found {
		t.Fatal("the section is not there")
	}
	var lines, first []string
	for line := range strings.Lines(strings.ReplaceAll(section, "\\\n", "")) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "curl "):
			lines = append(lines, line)
		case strings.HasPrefix(line, "NOW="):
			first = append(first, line)
		}
	}
	dir := workplace(t)
	at := startDemo(t, dir)
	scripts := []string{"SHOP=http://" + at.address + "\nORDER='item=Teapot&quantity=1'\n" + strings.Join(first, "\n")}
	for _, line := range lines {
		scripts = append(scripts, line, line)
	}
	var got []string
	outputs := shell{dir: dir, path: standIn(t)}.run(t, scripts)[1:]
	for i, out := range outputs {
		status, _, _ := strings.Cut(strings.TrimPrefix(out, "HTTP/1.1 "), " ")
		if strings.Contains(out, ";replayed") {
			status += " again"
		}
		if i%2 == 0 {
			got = append(got, status)
		} else {
			got[len(got)-1] += ", " + status
		}
	}
	want := []string{
		"201, 201 again", // a key
		"201, 201 again", // a tracking id
		"201, 409",       // an id in the path
		"201, 201",       // an address for a PUT each time
		"201, 201 again", // a repeatable request
		"201, 201 again", // one creation
		"200, 200 again", // one write for a version
		"200, 200 again", // its confirmation
		"201, 201 again", // paid once
		"202, 202",       // accepted; or done by the second
		"201, 201 again", // with a callback
	}
	if len(got) == len(want) && strings.HasSuffix(got[9], ", 201 again") {
		got[9] = want[9]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n(-want +got)\n%s", strings.Join(lines, "\n"), diff)
	}
	if last := outputs[len(outputs)-1]; strings.Count(last, `"type":"poe.outcome.done"`) != 1 {
		t.Errorf("the hook heard: %s", last)
	}
}
