package pebblestore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// Pebble opens a database whose MANIFEST is damaged, and writes that were synced are gone without a word. Each such damage is noticed before.
func TestManifest(t *testing.T) {
	const folder, flushes, each = "/db", 6, 50
	disk := vfs.NewMem()
	o := func(fs vfs.FS) *pebble.Options {
		return &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{t}, DisableAutomaticCompactions: true}
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
	db, err := pebble.Open(folder, o(disk))
	if err != nil {
		t.Fatal(err)
	}
	for i := range flushes * each {
		if err := db.Set(key(i), nil, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if i%each == each/2 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if torn, err := pebblestore.Intact(disk, folder); torn || err != nil {
		t.Fatalf("whole, it is called torn: %t, %v", torn, err)
	}
	desc, err := pebble.Peek(folder, disk)
	if err != nil {
		t.Fatal(err)
	}
	content := contentOf(t, disk, desc.ManifestFilename)
	silent, torn, step := 0, 0, 1
	if testing.Short() {
		step = 11
	}
	for _, d := range damages {
		for at := 0; at < len(content); at += step {
			broken := copyOf(t, disk)
			overwrite(t, broken, desc.ManifestFilename, d.to(content, at))
			isTorn, noticed := pebblestore.Intact(broken, folder)
			if noticed != nil && !errors.Is(noticed, store.ErrCorrupt) {
				t.Errorf("%s at %d of %d: %v", d.name, at, len(content), noticed)
			}
			if isTorn {
				torn++
			}
			db, err := pebble.Open(folder, o(broken))
			if err != nil {
				continue
			}
			missing := 0
			for i := range flushes * each {
				if _, closer, err := db.Get(key(i)); err != nil {
					missing++
				} else if err := closer.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if missing > 0 {
				silent++
			}
			if missing > 0 && noticed == nil {
				t.Errorf("%s at %d of %d: it opens, and %d of %d keys are missing", d.name, at, len(content), missing, flushes*each)
			}
		}
	}
	t.Logf("%d damages lose something silently, and are noticed; %d tear off what nobody needs", silent, torn)
	if silent == 0 || torn == 0 {
		t.Error("the damages show nothing")
	}
}
