package tokens

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// maxFile is the largest key file that is read, in bytes: thousands of keys.
const maxFile = 1 << 20

// pollEvery is how often Run reads the key file.
const pollEvery = time.Second

// A File is a ring whose keys are those of a key file, which may change while it is open. It is safe for concurrent use.
//
// A change is found by Reload, within a second by Run, and at once by a Verify that meets a key it does not know:
// so a token of the newest key is not refused by the node that heard of it last. Whatever is wrong with the
// changed file, the keys that were good before stay in use.
type File struct {
	path     string
	audience string
	ring     *Ring
	reloaded func(error)

	mu       sync.Mutex  // one reading at a time; guards what follows
	ledger   string      // that the file names; empty: none
	seen     fs.FileInfo // of the file that was read last, good or bad; nil: there was none
	sum      [32]byte    // of the content that is in use
	reported string      // the failure that reloaded heard last; empty: none since the last success
}

// OpenFile reads the key file at path, a JWK Set (see ParseKeys).
//
// If there is none, or if others than its owner may read or write it, the error is a *HintError with the command that
// mends it; a missing file is also fs.ErrNotExist. The mode is not looked at on Windows. So it is, and ErrOtherLedger, where the file
// names another ledger than cfg.Audience.
func OpenFile(path string, cfg Config) (*File, error) {
	f := &File{path: path, audience: cfg.Audience, reloaded: cfg.Reloaded}
	keys, err := f.read()
	if err != nil {
		return nil, err
	}
	if f.ring, err = NewRing(cfg, *keys); err != nil {
		return nil, err
	}
	f.ring.lookAgain = f.lookAgain
	return f, nil
}

// Ring returns the ring. It is the same one for the whole life of the file.
func (f *File) Ring() *Ring { return f.ring }

// Ledger returns the ledger that the file says it signs for; "" where it names none.
func (f *File) Ledger() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ledger
}

// Reload reads the file and returns once its keys are in use. If it returns an error the keys are those from before.
func (f *File) Reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.refresh()
	if err == nil {
		f.reported = ""
	}
	return err
}

// Run reads the file every second until ctx is done.
func (f *File) Run(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.check(func() bool { return true })
		}
	}
}

// lookAgain reads the file if it is not the one that was read last. What this costs a flood of forged tokens, whose
// keys nobody knows, is one stat each; a limit on top of it would refuse good tokens of a new key during such a flood.
func (f *File) lookAgain() {
	now, err := os.Stat(f.path)
	if err != nil {
		return // Run reports it
	}
	f.check(func() bool {
		return f.seen == nil || !os.SameFile(f.seen, now) || f.seen.Size() != now.Size() ||
			!f.seen.ModTime().Equal(now.ModTime()) || f.seen.Mode() != now.Mode()
	})
}

// check reads the file if due says so, and reports what is new. A failure that lasts is reported once.
func (f *File) check(due func() bool) {
	f.mu.Lock()
	if !due() {
		f.mu.Unlock()
		return
	}
	changed, err := f.refresh()
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	news := changed || failure != f.reported
	f.reported = failure
	f.mu.Unlock()
	if news && f.reloaded != nil {
		f.reloaded(err)
	}
}

// refresh reads the file and puts its keys to use if they changed. It is called with mu held.
func (f *File) refresh() (changed bool, err error) {
	keys, err := f.read()
	if err != nil || keys == nil {
		return false, err
	}
	return true, f.ring.use(*keys)
}

// read returns the keys of the file, or nil if its content is the one in use. It compares contents, not times: two
// changes within one tick of the file system's clock look alike to stat. It is called with mu held.
func (f *File) read() (*Keys, error) {
	content, info, err := readKeyFile(f.path)
	f.seen = info
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	if sum == f.sum {
		return nil, nil
	}
	keys, err := ParseKeys(content)
	if err != nil {
		return nil, unreadable(f.path, err)
	}
	if keys.ledger != "" && keys.ledger != f.audience {
		return nil, &HintError{
			fmt.Errorf("%w: key file %s signs for ledger %s, and this is ledger %s", ErrOtherLedger, f.path, keys.ledger, f.audience),
			"poe keys release " + Quoted(f.path) + " # if it is to sign for this ledger from now on",
		}
	}
	f.sum, f.ledger = sum, keys.ledger
	return &keys, nil
}

// readKeyFile returns the content of a key file that nobody else can read, and what it is, as ReadPrivate does.
func readKeyFile(path string) ([]byte, fs.FileInfo, error) {
	content, info, err := ReadPrivate("key file", path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		err = noKeyFile(path, err)
	}
	return content, info, err
}

func noKeyFile(path string, err error) error {
	return &HintError{err, "poe keys new " + Quoted(path)}
}

// unreadable is the error for a key file that holds no keys. Without them every POE URI of before is worth nothing, so none are made in their place.
func unreadable(path string, err error) error {
	return &HintError{fmt.Errorf("reading %s: %w", path, err), "put back the file as it was; only if it is lost for good, move it away: mv " + Quoted(path) + " " + Quoted(path+".damaged")}
}
