package doctest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/serve"
)

// settings returns key and default of every field of a configuration.
func settings(config any) map[string]string {
	all := map[string]string{}
	typ := reflect.TypeOf(config)
	for i := range typ.NumField() {
		tag := typ.Field(i).Tag
		all[tag.Get("yaml")] = tag.Get("usual")
	}
	return all
}

func TestSettings(t *testing.T) {
	operations := readPage(t, "docs/operations.md").section(t, "## Settings")
	routes := operations.section(t, "### Routes")
	top := page{name: operations.name, lines: operations.lines[:slices.Index(operations.lines, "### Routes")]}
	for _, c := range []struct {
		name   string
		page   page
		config any
	}{
		{"top", top, serve.Config{}},
		{"routes", routes, serve.Route{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			documented := map[string]string{}
			for _, row := range c.page.rows() {
				documented[row[0]] = row[1]
			}
			if diff := cmp.Diff(settings(c.config), documented); diff != "" {
				t.Errorf("-program +page:\n%s", diff)
			}
		})
	}
}

// TestSettingsFile reads every YAML block as a configuration; one for another program is called yml.
func TestSettingsFile(t *testing.T) {
	read := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if b.language != "yaml" {
				continue
			}
			read++
			if _, err := serve.Load(serve.Source{File: fmt.Sprintf("%s:%d", p.name, b.line), Text: []byte(b.text)}); err != nil {
				t.Error(err)
			}
		}
	}
	if read == 0 {
		t.Error("found no configuration: the search must be broken")
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	at := startServe(t, workplace(t))
	// A metric with labels is there once it has counted something.
	uri := strings.TrimSpace(get(t, http.MethodGet, "http://"+at.address+"/poe/new?for=/orders").body)
	get(t, http.MethodPost, "http://"+at.address+uri)
	get(t, http.MethodGet, "http://"+at.address+"/poe/outcomes/none")
	shown := map[string]bool{}
	for line := range strings.SplitSeq(get(t, http.MethodGet, "http://"+at.admin+"/metrics").body, "\n") {
		if name, ok := strings.CutPrefix(line, "# TYPE poe_"); ok {
			name, _, _ = strings.Cut(name, " ")
			shown["poe_"+name] = true
		}
	}
	documented := map[string]bool{}
	for _, name := range readPage(t, "docs/operations.md").section(t, "## Metrics").column() {
		documented[name] = true
	}
	if diff := cmp.Diff(shown, documented); diff != "" {
		t.Errorf("-program +page:\n%s", diff)
	}
}

// TestProblems asks for every problem's own page. That no problem is missing is tested where the problems are.
func TestProblems(t *testing.T) {
	t.Parallel()
	at := startServe(t, workplace(t))
	rows := readPage(t, "docs/protocol.md").section(t, "## Problems").rows()
	if len(rows) < 20 {
		t.Errorf("found %d problems: the search must be broken", len(rows))
	}
	for _, row := range rows {
		res := get(t, http.MethodGet, "http://"+at.address+"/poe/problems/"+row[0])
		var said struct {
			Status int
			Retry  string
		}
		if err := json.Unmarshal([]byte(res.body), &said); res.status != http.StatusOK || err != nil {
			t.Errorf("%s: %d, %v", row[0], res.status, err)
			continue
		}
		status, _, _ := strings.Cut(row[1], ",")
		if fmt.Sprint(said.Status) != status || said.Retry != row[2] {
			t.Errorf("%s: the page says %s %s, the program %d %s", row[0], status, row[2], said.Status, said.Retry)
		}
	}
}

// TestEach503IsExplained compares the problems with what the page for operators says of a 503.
func TestEach503IsExplained(t *testing.T) {
	t.Parallel()
	said, found := strings.Join(readPage(t, "docs/operations.md").section(t, "## What a 503 means").lines, "\n"), 0
	for _, row := range readPage(t, "docs/protocol.md").section(t, "## Problems").rows() {
		if strings.Contains(row[1], "503") {
			found++
			if !strings.Contains(said, "\n- `"+row[0]+"`: ") {
				t.Errorf("%s is a 503, and is not explained", row[0])
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d problems with 503: the search must be broken", found)
	}
}

type answer struct {
	status int
	body   string
}

// get makes one request and returns the answer to it, as JSON or text.
func get(t *testing.T, method, url string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/plain, application/json;q=0.9, application/problem+json;q=0.9")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, string(body)}
}
