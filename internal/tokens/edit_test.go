package tokens_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/tokens"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// alone fails if there is anything but the key file in its folder.
func alone(t *testing.T, path string) {
	t.Helper()
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Name() != filepath.Base(path) {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

func TestCreateFile(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ ask, want tokens.Alg }{
		"default": {"", tokens.HS256}, "HS256": {tokens.HS256, tokens.HS256}, "EdDSA": {tokens.EdDSA, tokens.EdDSA},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			made, err := tokens.CreateFile(path, tokens.NewKey{Alg: tt.ask, Now: now()})
			if err != nil {
				t.Fatal(err)
			}
			want := []tokens.KeyInfo{{ID: made.ID, Alg: tt.want, Signing: true, Created: now()}}
			got, err := tokens.ListFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(made, got[0]); diff != "" {
				t.Errorf("what CreateFile returned (-) and wrote (+):\n%s", diff)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
			}
			alone(t, path)
			ring := openFile(t, path, nil).Ring()
			if _, err := ring.Verify(mint(t, ring, claims()), now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCreateFileOverwritesNothing(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(string) error{
		"a file":        func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"a folder":      func(path string) error { return os.Mkdir(path, 0o700) },
		"a broken link": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tokens.CreateFile(path, tokens.NewKey{}); !errors.Is(err, tokens.ErrExists) {
				t.Errorf("err = %v, want ErrExists", err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("it was replaced: %v", err)
			}
			alone(t, path)
		})
	}
}

func TestRotateFile(t *testing.T) {
	t.Parallel()
	path := keyFile(t, []byte(`{"ledger":"018f","keys":[`+strings.Replace(jwkEd(signs), `"kid"`, `"note":["mine"],"kid"`, 1)+`]}`))
	made, err := tokens.RotateFile(path, tokens.NewKey{Now: now()})
	if err != nil {
		t.Fatal(err)
	}
	later, err := tokens.RotateFile(path, tokens.NewKey{Alg: tokens.HS256})
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokens.ListFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []tokens.KeyInfo{
		{ID: later.ID, Alg: tokens.HS256, Signing: true},
		{ID: made.ID, Alg: tokens.EdDSA, Created: now()},
		{ID: "ed", Alg: tokens.EdDSA},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var file struct {
		Ledger string
		Keys   []map[string]any
	}
	if err := json.Unmarshal([]byte(read(t, path)), &file); err != nil {
		t.Fatal(err)
	}
	if file.Ledger != "018f" || cmp.Diff([]any{"mine"}, file.Keys[2]["note"]) != "" {
		t.Errorf("members of a later version are lost: %+v", file)
	}
	for _, k := range file.Keys[1:] {
		if k["d"] != nil {
			t.Errorf("key %v no longer signs and still has its private half", k["kid"])
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	alone(t, path)
}

func TestRotateFileThroughALink(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, link, nil)
	rotate(t, link)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info.Mode(), err)
	}
	if keys, err := tokens.ListFile(path); err != nil || len(keys) != 2 {
		t.Errorf("the file behind the link has %v, %v", keys, err)
	}
	if err := f.Reload(); err != nil {
		t.Error(err)
	}
}

func TestRetireFile(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs), jwkEd(verifies)))
	before := read(t, path)
	err := tokens.RetireFile(path, "hs")
	if !errors.Is(err, tokens.ErrSigning) || hint(err) != "poe keys rotate "+path {
		t.Errorf("retiring the key that signs: %v, hint %q", err, hint(err))
	}
	if err := tokens.RetireFile(path, "HS"); !errors.Is(err, tokens.ErrNoSuchKey) {
		t.Errorf("retiring nobody's key: %v", err)
	}
	if got := read(t, path); got != before {
		t.Errorf("a refused change changed the file to %s", got)
	}
	alone(t, path)
	if err := tokens.RetireFile(path, "ed"); err != nil {
		t.Fatal(err)
	}
	if keys, err := tokens.ListFile(path); err != nil || len(keys) != 1 || keys[0].ID != "hs" {
		t.Errorf("left are %v, %v", keys, err)
	}
}

// What fails changes nothing and leaves nothing behind, so that the next command works.
func TestFailedChangeChangesNothing(t *testing.T) {
	t.Parallel()
	repeated := func() *strings.Reader { return strings.NewReader(strings.Repeat("r", 37)) }
	for name, tt := range map[string]struct {
		file   []byte
		change tokens.NewKey
		says   string
	}{
		"randomness ends":    {keySet(jwkHS(signs)), tokens.NewKey{Random: strings.NewReader("short")}, "unexpected EOF"},
		"randomness repeats": {keySet(strings.Replace(jwkHS(signs), `"hs"`, `"ojzhe4ts"`, 1)), tokens.NewKey{Random: repeated()}, "is in use"},
		"unknown algorithm":  {keySet(jwkHS(signs)), tokens.NewKey{Alg: "RS256"}, "alg must be"},
		"only verifies":      {keySet(jwkEd(verifies)), tokens.NewKey{Alg: tokens.HS256}, "no signing key"},
		"broken file":        {[]byte(`{"keys":[]}`), tokens.NewKey{}, "there are none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := keyFile(t, tt.file)
			_, err := tokens.RotateFile(path, tt.change)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("err = %v, want it to say %q", err, tt.says)
			}
			if got := read(t, path); got != string(tt.file) {
				t.Errorf("the file is now %s", got)
			}
			alone(t, path)
		})
	}
}

// Every rotation that reported success is in the file, whoever else rotated at the same moment.
func TestConcurrentRotationsLoseNoKey(t *testing.T) {
	t.Parallel()
	path := keyFile(t, keySet(jwkHS(signs)))
	const many = 12
	made := make(chan string, many)
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			for {
				k, err := tokens.RotateFile(path, tokens.NewKey{})
				if errors.Is(err, tokens.ErrBusy) {
					runtime.Gosched()
					continue
				}
				if err != nil {
					t.Error(err)
				}
				made <- k.ID
				return
			}
		})
	}
	all.Wait()
	close(made)
	keys, err := tokens.ListFile(path)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, k := range keys {
		have[k.ID] = true
	}
	for id := range made {
		if !have[id] {
			t.Errorf("key %s was made and is lost", id)
		}
	}
	if len(keys) != many+1 {
		t.Errorf("%d keys, want %d", len(keys), many+1)
	}
	alone(t, path)
}

// Of several that create one file, one does.
func TestConcurrentCreationsMakeOneFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	made := make(chan tokens.KeyInfo, 8)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			k, err := tokens.CreateFile(path, tokens.NewKey{})
			if err == nil {
				made <- k
			} else if !errors.Is(err, tokens.ErrExists) && !errors.Is(err, tokens.ErrBusy) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(made)
	var winners []tokens.KeyInfo
	for k := range made {
		winners = append(winners, k)
	}
	keys, err := tokens.ListFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(winners, keys); diff != "" {
		t.Errorf("reported (-) and written (+):\n%s", diff)
	}
}
