package doctest_test

import (
	"bytes"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamples runs what the pages show, against the real binary. Their addresses become those that the server got.
func TestExamples(t *testing.T) {
	t.Parallel()
	curls := map[string]string{"stand-in": standIn(t)}
	if _, err := exec.LookPath("curl"); err == nil {
		curls["curl"] = ""
	}
	ran := 0
	for _, p := range pages(t) {
		examples := p.examples()
		if len(examples) == 0 {
			continue
		}
		ran += len(examples)
		for name, path := range curls {
			t.Run(p.name+" with "+name, func(t *testing.T) {
				t.Parallel()
				dir := workplace(t)
				begin := startDemo
				if p.name == "docs/operations.md" {
					begin = startServe
				}
				at := begin(t, dir)
				p.try(t, at, shell{dir: dir, path: path})
			})
		}
	}
	if ran < 5 {
		t.Errorf("found %d examples: the search must be broken", ran)
	}
}

// standIn returns a folder with this binary in it as curl.
func standIn(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "curl"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// try runs the examples of p in order.
func (p page) try(t *testing.T, at server, sh shell) {
	here := strings.NewReplacer("127.0.0.1:8080", at.address, "127.0.0.1:8081", at.admin)
	var scripts []string
	examples := p.examples()
	for _, e := range examples {
		scripts = append(scripts, here.Replace(e.script.text))
	}
	for i, got := range sh.run(t, scripts) {
		e := examples[i]
		if want := here.Replace(e.want.text); !matches(want, got) {
			t.Errorf("%s:%d prints\n%s\nand the page says\n%s", p.name, e.script.line, got, want)
		}
	}
}

// TestGo formats every Go block, and compiles those that are whole programs.
func TestGo(t *testing.T) {
	t.Parallel()
	programs := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if b.language != "go" {
				continue
			}
			want, err := format.Source([]byte(b.text))
			if err != nil {
				t.Errorf("%s:%d: %v", p.name, b.line, err)
				continue
			}
			if !bytes.Equal(want, []byte(b.text)) {
				t.Errorf("%s:%d: gofmt makes it\n%s", p.name, b.line, want)
			}
			if strings.HasPrefix(b.text, "package main") {
				programs++
				compile(t, p, b)
			}
		}
	}
	if programs == 0 {
		t.Error("found no program: the search must be broken")
	}
}

// TestCode looks for the functions that a page shows in the program: they are shown as they are.
func TestCode(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, "internal", "poe", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var program strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		program.Write(text)
	}
	shown := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if b.language != "go" || !strings.HasPrefix(b.text, "func ") {
				continue
			}
			shown++
			if !strings.Contains(program.String(), b.text) {
				t.Errorf("%s:%d: there is no such function", p.name, b.line)
			}
		}
	}
	if shown == 0 {
		t.Error("found no function: the search must be broken")
	}
}

func compile(t *testing.T, p page, b block) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
		t.Fatal(err)
	}
	vet := exec.Command("go", "vet", file)
	vet.Dir = root
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%s:%d: %v\n%s", p.name, b.line, err, out)
	}
}
